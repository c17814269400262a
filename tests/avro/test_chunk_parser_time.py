"""Parsing hostile bytes at once takes at most ten times as long as the scalar decoder takes for the same payloads."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from stream_capi.avro.chunk_parser import ChunkParser
from stream_capi.avro.decode import Decoder
from tests.avro.records import LEAD, encode, lead, record, schema
from tests.avro.test_decode import varint

RANDOM = Random(26)
INTS = record({"type": "array", "items": "int"})
OPTIONAL = ["null", "string"]
FIXED = [{"type": "fixed", "name": f"F{k}", "size": 1} for k in range(63)]
MIXED = [
    ["null", "string", "long", "double", {"type": "enum", "name": f"E{k}", "symbols": ["a", "b"]}] for k in range(200)
]
OF_MIXED = (b"\0", b"\2\2a", b"\4\2", b"\6" + b"\1" * 8, b"\x08\0")
SHARED = record({**record(*["boolean"] * 99), "name": "I"}, *["I"] * 600)
NESTED = record({"type": "array", "items": {"type": "array", "items": {"type": "array", "items": "boolean"}}})
LEAF = [varint(k % 9 + 1) + b"\1" * (k % 9 + 1) + b"\0" for k in range(9)]
GOOD = encode(LEAD, lead())


def ints(*blocks: int) -> bytes:
    return b"".join(varint(n) + b"\2" * n for n in blocks) + b"\0"


CHUNKS: dict[str, tuple[Any, list[bytes]]] = {
    "one record of 4,000 items": (INTS, [ints(4000)] + [ints(3)] * 200),
    "33 records of 4,000 items": (INTS, [ints(4000)] * 33 + [ints(3)] * 200),
    "each record one block longer than the last": (INTS, [ints(*[32] * k, 1, *[32] * 60) for k in range(60)] * 3),
    "blocks of one item": (INTS, [ints(*[1] * 1500)] * 40 + [ints()] * 60),
    "each record longer than the last": (INTS, [ints(k * 20) for k in range(1, 200)]),
    "a branch for each record": (record({"type": "array", "items": ["null", *FIXED]}),
        [varint(300) + b"".join(bytes([(k * 7 + r) % 63 * 2 + 2, 1]) for k in range(300)) + b"\0" for r in range(128)]),
    "branches at random": (record(*MIXED), [b"".join(RANDOM.choice(OF_MIXED) for _ in range(200)) for _ in range(100)]),
    "a long string in one record of a hundred, in each field another": (record(*[OPTIONAL] * 500),
        [b"".join(b"\2\x80\2" + b"y" * 128 if (k + r) % 100 == 0 else b"\0" for k in range(500)) for r in range(100)]),
    "a longer one": (record(*[OPTIONAL] * 300),
        [b"".join(b"\2\x80\x80\1" + b"y" * 8192 if (k + r) % 100 == 0 else b"\0" for k in range(300)) for r in range(100)]),
    "wrong in the first of 2,000 fields": (record(*[OPTIONAL] * 2000), [b"\x01" + b"\0" * 1999] * 1000),
    "most wrong in the first of 2,000 fields": (record(*[OPTIONAL] * 2000), [b"\x01" + b"\0" * 1999] * 500 + [b"\0" * 2000] * 40),
    "wrong in the first of 60,000 places": (SHARED, [b"\2" * 59_500] * 100),
    "arrays of arrays": (NESTED, [varint(9) + (varint(9) + LEAF[k % 9] * 9 + b"\0") * 9 + b"\0" for k in range(100)]),
    "random bytes": (LEAD, [RANDOM.randbytes(300) for _ in range(1000)]),
    "empty payloads": (LEAD, [b""] * 1000),
    "one byte too many": (LEAD, [GOOD + b"x"] * 1000),
    "no UTF-8": (LEAD, [GOOD.replace(b"canary", b"canar\xff")] * 1000),
    "hundred kilobytes of bytes": (record("bytes", "string"), [varint(100_000) + b"\xff" * 100_000 + b"\2a"] * 200),
    "four kilobytes of bytes": (record("bytes", "string"), [varint(4000) + b"\xff" * 4000 + b"\2a"] * 700),
    "four kilobytes of letters": (record("string", "string"), [varint(4000) + b"\xc3\xa9" * 2000 + b"\2a"] * 700),
    "arrays of all lengths": (record(*[{"type": "array", "items": "string"}] * 100),
        [b"".join(varint(k * r % 7) + b"\2a" * (k * r % 7) + b"\0" * (k * r % 7 > 0) for k in range(100)) for r in range(100)]),
}  # fmt: skip


@pytest.mark.cases(7)
@pytest.mark.slow
@pytest.mark.parametrize("paths", [[], ["f0", "f1", "f0[0]", "f0.a"]], ids=["none wanted", "some wanted"])
@pytest.mark.parametrize("what", CHUNKS)
def test_hostile_bytes_take_at_most_ten_times_as_long_at_once(what: str, paths: list[str]) -> None:
    raw, payloads = CHUNKS[what]
    decoder, parser = Decoder(schema(raw)), ChunkParser(schema(raw), paths)
    assert parser.parse_at_once(payloads).length == len(payloads)  # compiles the schema, which is not measured
    best = 100.0
    for _ in range(5):  # on a busy machine one try may be slow, not all
        best = min(
            best,
            processor_time(lambda: parser.parse_at_once(payloads)) / processor_time(lambda: decoder.decode(payloads)),
        )
        if best < 5:
            return
    assert best < 10


def processor_time(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return max(time.process_time() - started, 1e-4)
