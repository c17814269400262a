"""The columns of a chunk equal what the scalar decoder gives, path by path: in each value, type and rejection."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.avro import chunk_parser, decode, steps
from stream_capi.avro.arrays import Ints, np
from stream_capi.avro.chunk import Chunk
from stream_capi.avro.chunk_parser import ChunkParser
from stream_capi.avro.decode import Decoder
from stream_capi.avro.hardening import MAX_PAYLOAD, Node
from stream_capi.config.dotted_paths import follow
from stream_capi.events.paths import read
from stream_capi.model import Code, Rejection, Table
from tests.avro.records import LEAD, encode, lead, record, schema
from tests.avro.test_decode import BROKEN_RULES, ENUM, GREEDY, MANY, WIDE, events, varint
from tests.proof.profile import tries
from tests.proof.test_fuzz_schemas import PAYLOADS, SOUND_RECORDS


@pytest.fixture(autouse=True)
def _no_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a bug in parsing at once fail the test; the program would fall back to decoding the records one by one."""

    def parse(self: ChunkParser, payloads: Sequence[bytes]) -> Table:
        return (
            self.parse_at_once(payloads)
            if len(payloads) >= chunk_parser.enough(1000, 0)
            else self.parse_one_by_one(payloads)
        )

    monkeypatch.setattr(ChunkParser, "parse", parse)


@pytest.fixture(autouse=True)
def _no_byte_is_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if two steps count the same byte as not text.

    A byte above 127 that is counted twice hides one inside a string, and that string would pass as ASCII.
    """
    columns = Chunk.columns

    def counted(self: Chunk, last: Ints, count: int) -> tuple[list[list[Any]], list[int]]:
        made = columns(self, last, count)
        good = np.ones(len(self.rows), bool)
        good[made[1]] = False
        times = np.zeros(len(self.buffer) + 1, np.int64)  # starts of no-text ranges at each byte, minus ends
        for rows, start, end in self._no_text:
            kept = good[rows]
            assert (start[kept] <= end[kept]).all()
            np.add.at(times, start[kept], 1)
            np.add.at(times, end[kept], -1)
        assert times.cumsum().max() <= 1
        return made

    monkeypatch.setattr(Chunk, "columns", counted)


def scalar(raw: Any, paths: Sequence[str], payloads: Sequence[bytes]) -> Table:
    rows = Decoder(schema(raw)).decode(payloads)
    bad = {at: row for at, row in enumerate(rows) if isinstance(row, Rejection)}
    columns = {path: [None if at in bad else read(row, path) for at, row in enumerate(rows)] for path in paths}
    return Table(len(payloads), columns, bad)


def alike(raw: Any, paths: Sequence[str], payloads: Sequence[bytes]) -> Table:
    """Parse with the thresholds set now, and compare with the scalar decoder."""
    expected, made = scalar(raw, paths, payloads), ChunkParser(schema(raw), paths).parse(payloads)
    assert made.length == expected.length
    assert dict(made.rejected) == dict(expected.rejected)
    assert set(made.columns) == set(expected.columns)
    for path, column in expected.columns.items():
        assert repr(list(made.columns[path])) == repr(column), (
            path
        )  # compares types too: 1, 1.0, True and numpy's scalars differ
    return made


def paths_of(node: Node, before: str = "", depth: int = 0) -> Iterator[str]:
    """Every path through a schema, to leaves and to the types around them; of arrays a few items, of maps some keys."""
    if before:
        yield before
    if depth > 6:
        return
    for name, field in node.fields:
        yield from paths_of(
            field,
            f'{before}."{name}"'.removeprefix(".") if name.isprintable() and name.strip() == name else before,
            depth + 1,
        )
    for branch in node.branches:
        yield from paths_of(branch, before, depth + 1)
    if node.items is not None:
        for step in ("[0]", ".1") if node.type == "array" else (".a", '."0"', ".b"):
            yield from paths_of(node.items, before + step, depth + 1)


def drawn_paths(data: st.DataObject, raw: Any) -> list[str]:
    known = sorted({*paths_of(schema(raw).parsed), "none", "f0.none", "f1[0]", "f0[0].f0", "f0.a.b"})
    return data.draw(st.lists(st.sampled_from(known), max_size=12, unique=True))


DAMAGE = st.sampled_from((b"", b"\xff", b"\x80\x80\x80\x80\x01", b"\x01", b"\x80" * 9 + b"\x01", b"\xff" * 9 + b"\x01", b"\xff" * 11, b"\x80\x00", b"\x03", b"\xfe\xff\xff\xff\x0f", b"\xc3", b"\xed\xa0\x80"))  # fmt: skip


@st.composite
def chunks(draw: st.DrawFn, good: Sequence[bytes]) -> list[bytes]:
    """Good and damaged records in any order, enough of them to be parsed at once."""
    kinds = list(good)
    for _ in range(draw(st.integers(0, 4))):
        damaged = draw(st.sampled_from(good))
        at = draw(st.integers(0, len(damaged)))
        kinds.append(
            damaged[:at] + draw(st.one_of(DAMAGE, st.binary(max_size=3))) + damaged[at + draw(st.integers(0, 3)) :]
        )
    kinds += draw(st.lists(st.sampled_from((b"", b"\0" * 80, b"\2" * 80, b"\x80\x01" * 40)), max_size=1))
    return draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=8)) * draw(st.sampled_from((1, 5, 40))) + kinds


@pytest.fixture(params=[1, 3, 32])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The least number of records for which array operations are used. With 1 everything is read by them."""
    monkeypatch.setattr(steps, "FEW", request.param)
    monkeypatch.setattr(chunk_parser, "enough", lambda *_: 1)
    few: int = request.param
    return few


@pytest.mark.cases(1)
@pytest.mark.slow
@tries(150)
@given(events(), st.data())
def test_any_chunk_of_any_schema(few: int, event: tuple[Any, list[Any]], data: st.DataObject) -> None:
    raw, values = event
    alike(raw, drawn_paths(data, raw), data.draw(chunks([encode(raw, value) for value in values])))


@tries(150)
@given(SOUND_RECORDS, PAYLOADS, st.data())
def test_any_bytes_under_a_sound_schema(few: int, raw: Any, payloads: list[bytes], data: st.DataObject) -> None:
    alike(raw, drawn_paths(data, raw), data.draw(chunks(payloads)))


@tries(100)
@given(events(), st.data())
def test_few_records(event: tuple[Any, list[Any]], data: st.DataObject) -> None:
    raw, values = event
    payloads = data.draw(
        st.lists(st.sampled_from([encode(raw, value) for value in values] + [b"", b"\xff"]), max_size=3)
    )
    alike(raw, drawn_paths(data, raw), payloads)


@pytest.mark.cases(12)
@pytest.mark.slow
@pytest.mark.parametrize("few", [1, 32], indirect=True)
@pytest.mark.parametrize(
    "kind",
    ["null", "boolean", "int", "long", "float", "double", "bytes", "string", ENUM, MANY, {"type": "fixed", "name": "F", "size": 4}, WIDE,
     {"type": "array", "items": "int"}, {"type": "array", "items": "string"}, {"type": "map", "values": "string"}, {"type": "map", "values": "null"},
     record("string", ["null", "long"]) | {"name": "I"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("nullable", [0, 1, 2])
def test_all_short_payloads(few: int, kind: Any, nullable: int) -> None:
    """Every payload of one byte, many of two and three: each way in which a value of a type can be valid or not."""
    if nullable and (kind == "null" or kind is WIDE):
        return
    raw = record(kind if not nullable else ["null", kind] if nullable == 1 else [kind, "null"])
    odd = [0, 1, 2, 3, 4, 6, 126, 127, 128, 129, 130, 194, 195, 254, 255]
    payloads = [bytes([a]) for a in range(256)] + [bytes([a, b]) for a in (0, 2, 128, 255) for b in range(256)]
    payloads += [bytes([a, b, c]) for a in odd[:9] for b in odd[7:] for c in odd[::3]]
    payloads += [p + b"a\xc3\xa9" for p in payloads] + [p + b"abcdefg" for p in payloads[:600]]
    alike(raw, ["f0", "f0.f0", "f0[0]", "f0.a", "f0.f1"], payloads)
    alike(raw, [], payloads)


@pytest.mark.parametrize("few", [1, 32], indirect=True)
@pytest.mark.parametrize(("kind", "payload"), [(kind, payload) for kind, payload, _ in BROKEN_RULES], ids=str)
def test_each_broken_rule_among_good_records(few: int, kind: Any, payload: bytes) -> None:
    raw = record(kind, "string")
    good = [p for p in (b"\0\0", b"\0" * 9, b"\0\4\xc3\xa9", b"\2\2\2\2a", b"\2\2") if p]
    for payloads in ([payload], [*good, payload] * 20, [payload + b"\0", *good * 8], [*good, payload + b"\2b"] * 30):
        alike(raw, ["f0", "f1", "f0[1]"], payloads)


def test_numbers_of_all_lengths(few: int) -> None:
    numbers = [sign * (2**bits + more) for bits in range(63) for more in (-1, 0, 1) for sign in (1, -1)]
    numbers += [2**63 - 1, -(2**63)]
    raw = record("long", ["null", "long"], "int")
    values = [{"f0": n, "f1": n, "f2": 0} for n in numbers]
    made = alike(raw, ["f0", "f1", "f2"], [encode(raw, value) for value in values])
    assert made.columns["f0"] == numbers
    assert not made.rejected


def test_ints_beyond_32_bits_are_read_as_they_were_written(few: int) -> None:
    """fastavro writes and reads them; Avro's Java library raises, or wraps those of 33 bits."""
    numbers = [sign * (2**bits + more) for bits in (30, 31, 32, 33, 40, 62) for more in (-1, 0, 1) for sign in (1, -1)]
    as_long = record(
        "long", ["null", "long"], {"type": "array", "items": "long"}
    )  # the same bytes, without a check of the range
    raw = record("int", ["null", "int"], {"type": "array", "items": "int"})
    payloads = [encode(as_long, {"f0": n, "f1": n, "f2": [n, n]}) for n in numbers]
    made = alike(raw, ["f0", "f1", "f2[1]"], payloads)
    assert not made.rejected
    assert [list(made.columns[path]) for path in ("f0", "f1", "f2[1]")] == [numbers] * 3
    parsed = fastavro.parse_schema(raw)
    oracle: list[Any] = [fastavro.schemaless_reader(io.BytesIO(payload), parsed, None) for payload in payloads]
    assert [row["f0"] for row in oracle] == numbers


def test_a_record_that_runs_into_the_next_leaves_it_alone(few: int) -> None:
    """A truncated record reads into the text and numbers of the next one, and must not hide what is wrong there."""
    raw = record("double", "string", "bytes", "long")
    good = encode(raw, {"f0": 1.5, "f1": "é" * 5, "f2": b"\xff" * 9, "f3": 2**60})
    wrong = good.replace("é".encode(), b"\xc3\xff")
    for cut in range(1, len(good)):
        alike(raw, ["f1", "f3"], [good[:cut], wrong, good[:cut], good] * 12)


def test_a_record_whose_values_raise_is_rejected_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = record({"type": "array", "items": "string"})

    def follows(value: Any, path: Sequence[str]) -> Any:
        if "bad" in value:
            raise TypeError
        return follow(value, path)

    monkeypatch.setattr(decode, "follow", follows)
    parser = ChunkParser(schema(raw), ["f0[0]"])
    made = parser.parse([*(encode(raw, {"f0": [text]}) for text in ("a", "bad", "b")), b"\xff"])
    assert {at: why.code for at, why in made.rejected.items()} == {1: Code.INTERNAL_ERROR, 3: Code.DECODE_ERROR}
    assert made.columns["f0[0]"] == ["a", None, "b", None]


LEAF = {"type": "record", "name": "Leaf", "fields": [{"name": "c", "type": "string"}]}
INNER = {"type": "record", "name": "Inner", "fields": [{"name": "b", "type": LEAF}]}
DEEP = {"b": {"c": "x"}}
ABSENT: list[tuple[str, Any, Any, Any]] = [
    ("f0.b.c", ["null", INNER], None, DEEP),
    ("f0.b.c", [INNER, "null", "string"], "s", DEEP),
    ("f0.k.b.c", {"type": "map", "values": INNER}, {"j": DEEP}, {"k": DEEP}),
    ("f0.k.j.c", {"type": "map", "values": {"type": "map", "values": LEAF}}, {"k": {}}, {"k": {"j": {"c": "x"}}}),
    ("f0.b.b.c", ["null", {"type": "record", "name": "Outer", "fields": [{"name": "b", "type": INNER}]}], None, {"b": DEEP}),
    ("f0[1].b.c", {"type": "array", "items": INNER}, [DEEP], [DEEP, DEEP]),
]  # fmt: skip


@pytest.mark.parametrize("many", [1, 200])
@pytest.mark.parametrize(
    ("path", "kind", "without", "with_it"), ABSENT, ids=[f"{path} {kind}"[:40] for path, kind, *_ in ABSENT]
)
def test_a_path_through_something_that_a_record_lacks_is_null(
    path: str, kind: Any, without: Any, with_it: Any, many: int
) -> None:
    raw = record(kind)
    rows = [encode(raw, {"f0": value}) for value in (without, with_it)]
    assert set(alike(raw, [path], rows * many).columns[path]) == {None, "x"}
    assert alike(raw, [path], rows[:1] * many + [b"\xff"]).columns[path][0] is None


def in_sized_blocks(items: Sequence[bytes]) -> bytes:
    """An array as one block with a byte count, as some encoders write every array."""
    body = b"".join(items)
    return varint(-len(items)) + varint(len(body)) + body + b"\0"


LONG = b"\xff" * 100
TWO = varint(100)  # a varint of two bytes, one of them above 127
NO_TEXT: list[tuple[str, Any, bytes, bytes]] = [
    ("bytes", record("bytes", "bytes"), varint(100) + LONG + varint(100) + LONG, b"\0\0"),
    ("bytes or null", record(["null", "bytes"]), b"\2" + varint(100) + LONG, b"\0"),
    ("overlong length, or null", record(["null", "bytes"]), b"\2\xc8\x81\0" + LONG, b"\0"),
    ("array", record({"type": "array", "items": "long"}), b"\6" + TWO * 2 + b"\2\0", b"\2\2\0"),
    ("array in blocks", record({"type": "array", "items": "long"}), in_sized_blocks([b"\2"] * 70), b"\0"),
    ("map in blocks", record({"type": "map", "values": "long"}), in_sized_blocks([b"\2a\2"] * 70), b"\0"),
]


@pytest.mark.slow
@pytest.mark.parametrize("odd", [2, 200])
@pytest.mark.parametrize(("kind", "before", "much", "little"), NO_TEXT, ids=[kind for kind, *_ in NO_TEXT])
def test_bytes_that_are_no_text_hide_none_that_are(
    kind: str, before: Any, much: bytes, little: bytes, odd: int
) -> None:
    raw = record(*(field["type"] for field in before["fields"]), "string")
    read_text = f"f{len(before['fields'])}"
    plain = little + varint(200) + b"x" * 200
    for high in range(1, 6):
        good = much + varint(200) + (b"\xc3\xa9" * high).ljust(200)
        wrong = much + varint(200) + (b"\xff" * high).ljust(200)
        for paths in ([read_text], []):
            alike(raw, paths, [*[plain] * 200, *[good] * odd])
            alike(raw, paths, [*[plain] * 200, *[wrong] * odd])


@pytest.mark.cases(1)
@pytest.mark.slow
def test_large_payloads_are_left_to_the_scalar_decoder(few: int) -> None:
    raw = record(
        {"type": "array", "items": {"type": "array", "items": {"type": "array", "items": "boolean"}}}, "string"
    )
    good = b"\0\2a"
    alike(raw, ["f0", "f1"], [good, varint(5000) + b"\0" * 5001 + good[1:], b"\0" + varint(5000) + b"x" * 5000] * 20)
    made = alike(raw, ["f0", "f1"], [good] * 40 + [b"\0" * (MAX_PAYLOAD + 1), good])
    assert "larger than" in made.rejected[40].detail


@pytest.mark.cases(1)
@pytest.mark.slow
def test_a_lead_of_all_kinds(few: int) -> None:
    kinds = [
        lead(),
        lead(zip="94025", os="iOS", dedupe_id=""),
        lead(email="jürgen@straße.example"),
        lead(email=None, currency=""),
    ]
    names = [field["name"] for field in LEAD["fields"]]
    payloads = [encode(LEAD, kind) for kind in kinds]
    made = alike(LEAD, names, payloads * 50)
    assert not made.rejected
    for cut in range(few % 3, len(payloads[2]), 9):
        alike(
            LEAD,
            names,
            [*payloads, payloads[2][:cut], payloads[2], payloads[2][:cut] + b"\xff" + payloads[2][cut + 1 :]] * 12,
        )


@pytest.mark.cases(1)
@pytest.mark.slow
def test_schemas_of_the_greediest_payloads(few: int) -> None:
    for raw, payload in GREEDY:
        alike(raw, ["f0", "f0[0]"], [payload, payload[:-1], b"\0"] * 2)
        alike(raw, [], [payload, payload[:-1], b"\0"] * 2)


def test_a_null_says_nothing_of_the_text_behind_it(few: int) -> None:
    """A null has no bytes. If the next ones were counted as a number's, they would hide a string that is not UTF-8."""
    raw = record(["null", "double"], ["null", "long"], ["null", "float"], "string")
    texts = ["ü" * n for n in range(6)]
    good = [
        encode(raw, {"f0": f0, "f1": f1, "f2": f0, "f3": text})
        for text in texts
        for f0 in (None, -1.5)
        for f1 in (None, 2**40)
    ]
    wrong = [payload[:-1] + b"\xff" for payload in good] + [payload[:-2] + b"\xff\xff" for payload in good]
    made = alike(raw, ["f0", "f1", "f2", "f3"], [*good, *wrong])
    assert made.columns["f3"][: len(good)] == [text for text in texts for _ in range(4)]


EVERY = [
    "boolean",
    "int",
    "long",
    "float",
    "double",
    "bytes",
    "string",
    ENUM,
    MANY,
    {"type": "fixed", "name": "F", "size": 4},
]
PLAIN = {
    "boolean": True,
    "int": -3,
    "long": 1741784485001,
    "float": -0.5,
    "double": -1.5,
    "bytes": b"\xff" * 70,
    "string": "ü" * 40,
}


@pytest.mark.parametrize("nullable", [0, 1, 2])
def test_good_records_are_not_left_to_the_scalar_decoder(
    few: int, nullable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scalar decoder would give the same values, so only the time would show it; here it is removed."""
    kinds = [kind if not nullable else ["null", kind] if nullable == 1 else [kind, "null"] for kind in EVERY]
    raw = record(*kinds, {"type": "array", "items": "string"}, {"type": "map", "values": "long"})
    plain = [
        PLAIN[kind] if isinstance(kind, str) else "a" if kind is ENUM else "s99" if kind is MANY else b"\xfe" * 4
        for kind in EVERY
    ]
    full = [*plain, ["é", "x" * 200], {"a": 2**60}]
    nulls = [[*full[:at], None if nullable else full[at], *full[at + 1 :]] for at in range(len(EVERY))]
    payloads = [encode(raw, {f"f{k}": value for k, value in enumerate(values)}) for values in (full, *nulls)] * 4
    for paths in ([f"f{k}" for k in range(len(full))], []):
        parser = ChunkParser(schema(raw), paths)
        monkeypatch.setattr(parser, "decoder", None)
        assert not parser.parse_at_once(payloads).rejected
