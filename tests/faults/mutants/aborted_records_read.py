"""Mutant of ``stream-capi`` that reads uncommitted and aborted records, as other Kafka clients do by default."""

from __future__ import annotations

from typing import Any

from stream_capi import app
from stream_capi.cli import main
from stream_capi.kafka.properties import consumer_properties


def _uncommitted(*args: Any) -> dict[str, Any]:
    return {**consumer_properties(*args), "isolation.level": "read_uncommitted"}


if __name__ == "__main__":
    app.consumer_properties = _uncommitted  # type: ignore[assignment, attr-defined]  # the mutation
    main()
