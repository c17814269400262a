"""Mutant of ``stream-capi`` that goes on with partitions that were taken from it, and commits them.

Both checks are removed, the one of the assignment and the one right before a commit: either would be enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stream_capi.cli import main
from stream_capi.kafka.consumer import ConsumerThread
from stream_capi.model import Commit
from stream_capi.pipeline.pipeline import Pipeline


def _keep(self: Pipeline, partitions: Sequence[Any]) -> None:
    """Ignore the loss."""


def _owns(self: ConsumerThread, commit: Commit) -> bool:
    return True


if __name__ == "__main__":
    Pipeline.lost = _keep  # type: ignore[method-assign]  # the mutation
    Pipeline._fence = _keep  # type: ignore[method-assign, assignment]
    ConsumerThread._owns = _owns  # type: ignore[method-assign]
    main()
