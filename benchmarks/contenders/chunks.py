"""From bytes to payloads in one process, without a network, in chunks of a given number of records.

Runs with the current program, and with that of the commit before. Each line that it reads (``payloads 1000``,
``intake 20``) is answered with microseconds of processor time for an event, so that the two processes can take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from hashlib import sha256
from pathlib import Path

from benchmarks import inside
from benchmarks.contenders.bare import loaded
from benchmarks.mapping import mapping_of
from stream_capi.cli.process import tune_garbage_collector

_PREFIX = 5  # bytes of the framing


class Work:
    """The events of a shape, by topic, and the work that is measured on them."""

    def __init__(self, shape: str, values: dict[str, list[bytes]]) -> None:
        self._setup = inside.SETUP._replace(shape=shape)
        self._values = values
        self._count = sum(map(len, values.values()))
        settings, now_ms = loaded(self._setup), int(time.time() * 1000)
        self._mapped = [
            (mapping_of(settings, at, shape, now_ms), [value[_PREFIX:] for value in values[source.topic]])
            for at, source in enumerate(settings.sources)
        ]

    def digest(self) -> str:
        """The digest of all payloads, which must be equal in both programs. Raises AssertionError if an event has none."""
        digest = sha256()
        for mapped, payloads in self._mapped:
            for payload in mapped(payloads):
                assert isinstance(payload, bytes), payload
                digest.update(payload)
        return digest.hexdigest()

    def payloads(self, chunk: int) -> float:
        """Decode and map, in chunks of this many records of one topic."""
        begun = time.process_time()
        for mapped, payloads in self._mapped:
            for start in range(0, len(payloads), chunk):
                mapped(payloads[start : start + chunk])
        return 1e6 * (time.process_time() - begun) / self._count

    def intake(self, chunk: int) -> float:
        """All work that the program does for a chunk: decode, map, and the pipeline's intake, offsets, batches, outcomes."""
        chunks = inside.chunked(self._values, chunk)
        return 1e6 * asyncio.run(inside.whole(chunks, self._setup)) / self._count


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", required=True)
    parser.add_argument("--values", type=Path, required=True)
    arguments = parser.parse_args()
    values = {topic: list(map(bytes.fromhex, of)) for topic, of in json.loads(arguments.values.read_text()).items()}
    tune_garbage_collector()
    work = Work(arguments.shape, values)
    print(work.digest(), flush=True)
    for line in sys.stdin:
        what, chunk = line.split()
        print({"payloads": work.payloads, "intake": work.intake}[what](int(chunk)), flush=True)


if __name__ == "__main__":
    _main()
