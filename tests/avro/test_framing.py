from __future__ import annotations

from collections.abc import Iterable
from typing import cast
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import header_schema_id_serializer, prefix_schema_id_serializer
from confluent_kafka.schema_registry.common.serde import SchemaId
from confluent_kafka.serialization import MessageField, SerializationContext
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.avro.framing import FILE_KEY, HEADER, WIRE_FORMATS, Framed, Run, SchemaKey, Unframed
from stream_capi.model import Code
from tests.avro.records import CANARY, parts
from tests.fake_record import FakeRecord

GUID = "6c1a5ed8-5b1e-4f0e-9f5c-6d3f1a2b3c4d"
ID_7 = SchemaKey("id", 7)


def confluent(schema_id: int, payload: bytes) -> FakeRecord:
    return FakeRecord(b"\0" + schema_id.to_bytes(4, "big") + payload)


def covered(framed: Iterable[Framed]) -> list[int]:
    """The index of every record, in the order of the parts."""
    return [
        index
        for part in framed
        for index in (
            [part.index] if isinstance(part, Unframed) else range(part.start, part.start + len(part.payloads))
        )
    ]


def test_records_of_one_schema_are_one_run() -> None:
    assert parts("confluent", [confluent(7, b"a"), confluent(7, b""), confluent(7, b"ccc")]) == [
        Run(ID_7, 0, [b"a", b"", b"ccc"])
    ]


def test_another_schema_in_mid_stream_starts_another_run() -> None:
    chunk = [confluent(7, b"a"), confluent(8, b"b"), confluent(8, b"c"), confluent(7, b"d")]
    assert parts("confluent", chunk) == [
        Run(ID_7, 0, [b"a"]),
        Run(SchemaKey("id", 8), 1, [b"b", b"c"]),
        Run(ID_7, 3, [b"d"]),
    ]


def test_the_largest_id_is_unsigned() -> None:
    assert parts("confluent", [confluent(0xFFFFFFFF, b"a")]) == [Run(SchemaKey("id", 4294967295), 0, [b"a"])]


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (b"", "no Confluent prefix: the value is empty"),
        (b"{" + CANARY.encode(), "no Confluent prefix: first byte 0x7b, 26 bytes"),
        (b"\0\0\0\x07", "no Confluent prefix: first byte 0x00, 4 bytes"),
        (b"\x01" * 16, "no Confluent prefix: first byte 0x01, 16 bytes"),
    ],
)
def test_a_value_without_prefix_is_rejected_alone(value: bytes, detail: str) -> None:
    before, bad, after = parts("confluent", [confluent(7, b"a"), FakeRecord(value), confluent(7, b"b")])
    assert (before, after) == (Run(ID_7, 0, [b"a"]), Run(ID_7, 2, [b"b"]))
    assert isinstance(bad, Unframed)
    assert bad.index == 1
    assert bad.rejection.code is Code.DECODE_ERROR
    assert bad.rejection.detail == detail
    assert CANARY not in repr(bad)


def test_what_confluents_own_serializers_write_is_found() -> None:
    context = SerializationContext("leads", MessageField.VALUE, [])
    with_id = SchemaId("AVRO", 7)
    with_guid = SchemaId("AVRO", None, GUID)
    prefixed = prefix_schema_id_serializer(b"\0payload", context, with_id)
    bare = header_schema_id_serializer(b"\0payload", context, with_guid)
    headers = cast("list[tuple[str, bytes | None]]", context.headers)
    chunk = [FakeRecord(prefixed, [("traceparent", b"00-1")]), FakeRecord(bare, headers)]
    assert parts("confluent", chunk) == [
        Run(ID_7, 0, [b"\0payload"]),
        Run(SchemaKey("guid", GUID), 1, [b"\0payload"]),
    ]


def test_an_id_in_the_header_wins_over_a_payload_that_begins_like_a_prefix() -> None:
    chunk = [FakeRecord(b"\0\0\0\0\x09rest", [("a", None), (HEADER, b"\0\0\0\0\x07")])]
    assert parts("confluent", chunk) == [Run(ID_7, 0, [b"\0\0\0\0\x09rest"])]


def test_a_guid_in_front_of_the_payload_is_found() -> None:
    assert parts("confluent", [FakeRecord(b"\x01" + UUID(GUID).bytes + b"p")]) == [
        Run(SchemaKey("guid", GUID), 0, [b"p"])
    ]


@pytest.mark.parametrize("stated", [b"", b"7", b"\0\0\0\0\x07 ", b"\x01short", b"\x02" * 17])
def test_a_header_that_holds_no_id_is_rejected(stated: bytes) -> None:
    (bad,) = parts("confluent", [FakeRecord(b"\0\0\0\0\x09rest", [(HEADER, stated)])])
    assert isinstance(bad, Unframed)
    assert bad.rejection.code is Code.DECODE_ERROR


def test_single_object_is_told_by_marker_and_fingerprint() -> None:
    good = b"\xc3\x01" + bytes.fromhex("8f5c393f1ad57572") + b"payload"
    first, bad, short = parts(
        "single_object", [FakeRecord(good), FakeRecord(b"\xc3\x02" + good[2:]), FakeRecord(good[:9])]
    )
    assert first == Run(SchemaKey("fingerprint", "8f5c393f1ad57572"), 0, [b"payload"])
    assert isinstance(bad, Unframed)
    assert isinstance(short, Unframed)


def test_raw_takes_every_payload_as_it_is_even_an_empty_one() -> None:
    assert parts("raw", [FakeRecord(b"\0\0\0\0\x07x"), FakeRecord(b"")]) == [Run(FILE_KEY, 0, [b"\0\0\0\0\x07x", b""])]


def test_auto_tells_the_framings_apart_and_falls_back_to_the_file_only_where_there_is_one() -> None:
    single = FakeRecord(b"\xc3\x01" + b"\x01" * 8 + b"s")
    header = FakeRecord(b"h", [(HEADER, b"\0\0\0\0\x07")])
    chunk = [confluent(7, b"c"), single, header, FakeRecord(b"\x08raw1"), FakeRecord(b"\x08raw2")]
    tagged = [
        Run(ID_7, 0, [b"c"]),
        Run(SchemaKey("fingerprint", "01" * 8), 1, [b"s"]),
        Run(ID_7, 2, [b"h"]),
    ]
    assert parts("auto or raw", chunk) == [*tagged, Run(FILE_KEY, 3, [b"\x08raw1", b"\x08raw2"])]
    without = parts("auto", chunk)
    assert without[:3] == tagged
    assert [type(part) for part in without[3:]] == [Unframed, Unframed]
    assert parts("auto or raw", [FakeRecord(b"x"), FakeRecord(b"y"), confluent(7, b"c")]) == [
        Run(FILE_KEY, 0, [b"x", b"y"]),
        Run(ID_7, 2, [b"c"]),
    ]


def test_keys_read_well_and_payloads_stay_out_of_repr() -> None:
    assert [str(k) for k in (ID_7, SchemaKey("guid", GUID), FILE_KEY)] == [
        "schema id 7",
        f"schema guid {GUID}",
        "schema file",
    ]
    assert repr(Run(ID_7, 3, [CANARY.encode()])) == "Run(schema id 7, start 3, 1 payloads)"


@given(
    st.sampled_from(WIRE_FORMATS),
    st.lists(
        st.tuples(
            st.one_of(
                st.binary(max_size=20),
                st.sampled_from([b"\0\0\0\0\x07a", b"\0\0\0\0\x08b", b"\xc3\x01" + b"1" * 8, b"\x01" + b"g" * 16]),
            ),
            st.sampled_from([None, [], [("x", b"y")], [(HEADER, b"\0\0\0\0\x07")], [(HEADER, b"?")], [(HEADER, None)]]),
        ),
        max_size=12,
    ),
)
def test_every_record_is_in_exactly_one_part_in_order(
    framing: str, chunk: list[tuple[bytes, list[tuple[str, bytes | None]] | None]]
) -> None:
    records = [FakeRecord(value, headers) for value, headers in chunk]
    framed = parts(framing, records)
    assert covered(framed) == list(range(len(chunk)))
    for part in framed:
        if isinstance(part, Run):
            for index, payload in enumerate(part.payloads, part.start):
                assert chunk[index][0].endswith(payload)
    # How a record is framed doesn't depend on the others in its chunk.
    alone = [parts(framing, [r])[0] for r in records]
    assert [type(one) for one in alone] == [type(part) for part in framed for _ in covered([part])]


def apicurio(id_: int, payload: bytes = b"") -> bytes:
    return b"\0" + id_.to_bytes(8, "big") + payload


@pytest.mark.parametrize("kind", ["content", "global"])
def test_apicurio_s_prefix_is_an_id_of_eight_bytes(kind: str) -> None:
    chunk = [FakeRecord(apicurio(7, b"a")), FakeRecord(apicurio(7)), FakeRecord(apicurio(1 << 40, b"b"))]
    assert parts(f"apicurio {kind}", chunk) == [
        Run(SchemaKey(f"{kind} id", 7), 0, [b"a", b""]),
        Run(SchemaKey(f"{kind} id", 1 << 40), 2, [b"b"]),
    ]


@pytest.mark.parametrize("kind", ["content", "global"])
@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([("apicurio.value.contentId", (5).to_bytes(8, "big"))], SchemaKey("content id", 5)),
        ([("apicurio.value.globalId", (6).to_bytes(8, "big"))], SchemaKey("global id", 6)),
        ([("a", b"b"), ("apicurio.value.globalId", (6).to_bytes(8, "big")), ("c", None)], SchemaKey("global id", 6)),
        (
            [("apicurio.value.encoding", b"BINARY"), ("apicurio.value.globalId", (6).to_bytes(8, "big"))],
            SchemaKey("global id", 6),
        ),
    ],
)
def test_apicurio_s_headers_say_which_id_it_is_and_win(
    kind: str, headers: list[tuple[str, bytes | None]], key: SchemaKey
) -> None:
    value = apicurio(9, b"a")
    assert parts(f"apicurio {kind}", [FakeRecord(value, headers=headers)]) == [Run(key, 0, [value])]


def test_of_both_ids_in_headers_the_configured_one_counts() -> None:
    headers: list[tuple[str, bytes | None]] = [
        ("apicurio.value.contentId", (5).to_bytes(8, "big")),
        ("apicurio.value.globalId", (6).to_bytes(8, "big")),
    ]
    for kind, id_ in (("content", 5), ("global", 6)):
        record = FakeRecord(b"a", headers=headers)
        assert parts(f"apicurio {kind}", [record]) == [Run(SchemaKey(f"{kind} id", id_), 0, [b"a"])]


@pytest.mark.parametrize(
    ("value", "headers", "detail"),
    [
        (b"", None, "no Apicurio prefix: the value is empty"),
        (apicurio(7)[:-1], None, "no Apicurio prefix: first byte 0x00, 8 bytes"),
        (b"\1" + apicurio(7)[1:], None, "no Apicurio prefix: first byte 0x01, 9 bytes"),
        (apicurio(1 << 63), None, "no Apicurio prefix: first byte 0x00, 9 bytes"),
        (
            b"a",
            [("apicurio.value.contentId", b"\0\0\0\5")],
            "the apicurio.value.contentId header doesn't hold a valid 8-byte id: 4 bytes",
        ),
        (
            b"a",
            [("apicurio.value.globalId", b"\xff" * 8)],
            "the apicurio.value.globalId header doesn't hold a valid 8-byte id: 8 bytes",
        ),
        (
            b"{}",
            [("apicurio.value.globalId", bytes(8)), ("apicurio.value.encoding", b"JSON")],
            "the apicurio.value.encoding header says that the payload is not binary Avro",
        ),
    ],
)
def test_what_is_no_framing_of_apicurio_s_is_a_decode_error(
    value: bytes, headers: list[tuple[str, bytes | None]] | None, detail: str
) -> None:
    (part,) = parts("apicurio content", [FakeRecord(value, headers=headers)])
    assert isinstance(part, Unframed)
    assert (part.rejection.code, part.rejection.detail) == (Code.DECODE_ERROR, detail)
