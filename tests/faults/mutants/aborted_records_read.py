"""``stream-capi`` made wrong: it reads what is not committed, as librdkafka's neighbours do where nobody forbids it."""

from __future__ import annotations

from typing import Any

from stream_capi import app
from stream_capi.cli import main
from stream_capi.kafka.properties import consumer_properties


def _uncommitted(*args: Any) -> dict[str, Any]:
    return {**consumer_properties(*args), "isolation.level": "read_uncommitted"}


if __name__ == "__main__":
    app.consumer_properties = _uncommitted  # type: ignore[assignment, attr-defined]  # that is what a mutant is
    main()
