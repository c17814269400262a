"""Mutant of ``stream-capi`` that decodes a commit's metadata as its own, whichever release wrote it."""

from __future__ import annotations

from stream_capi.cli import main
from stream_capi.core.offset_metadata import Ranges, decode_outcomes
from stream_capi.pipeline import pipeline


def _believe(metadata: str, committed: int, topic_id: str = "") -> Ranges:
    _, _, rest = metadata.partition(":")
    return decode_outcomes(f"capi2:{rest}", committed, topic_id)


if __name__ == "__main__":
    pipeline.decode_outcomes = _believe  # type: ignore[attr-defined]  # the mutation
    main()
