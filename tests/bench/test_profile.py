"""Profile: each sample counts for the part of the program that has its innermost frame."""

from __future__ import annotations

import pytest

from benchmarks.profile import REST, shares

LOOP = "Handle._run (asyncio/events.py:80)"
TAKE = "Pipeline._take (stream_capi/pipeline/pipeline.py:198)"


def test_the_innermost_frame_that_belongs_to_a_part_decides() -> None:
    found = shares(
        [
            f"main (stream_capi/cli/__init__.py:67);{LOOP};{TAKE};Decoder.decode (stream_capi/avro/decode.py:116) 5",
            f"{LOOP};{TAKE};make (<string>:3);urlsplit (urllib/parse.py:9) 3",
            f"{LOOP};{TAKE} 1",
            "<module> (runpy.py:3) 1",
        ]
    )
    assert {name: share for name, share in found.items() if share} == {
        "decode": 0.5,
        "map": 0.3,
        "take in": 0.1,
        REST: 0.1,
    }
    assert sum(found.values()) == pytest.approx(1)
