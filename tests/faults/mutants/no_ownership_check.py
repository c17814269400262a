"""``stream-capi`` made wrong: it goes on with partitions that were taken from it, and commits for them.

Both fences are down, the one around the assignment and the one right before a commit; either alone would hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stream_capi.cli import main
from stream_capi.kafka.consumer import ConsumerThread
from stream_capi.model import Commit
from stream_capi.pipeline.pipeline import Pipeline


def _keep(self: Pipeline, partitions: Sequence[Any]) -> None:
    """Go on as if nothing had been taken."""


def _owns(self: ConsumerThread, commit: Commit) -> bool:
    return True


if __name__ == "__main__":
    Pipeline.lost = _keep  # type: ignore[method-assign]  # that is what a mutant is
    Pipeline._fence = _keep  # type: ignore[method-assign, assignment]
    ConsumerThread._owns = _owns  # type: ignore[method-assign]
    main()
