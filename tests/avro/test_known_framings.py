"""Recognizing the framing of a record when the settings state another one."""

from __future__ import annotations

import pytest

from stream_capi.avro.known_framings import named_framing

UUID = bytes(range(16))
HEX = UUID.hex().encode()


@pytest.mark.parametrize(
    ("headers", "value", "ours", "words"),
    [
        ([], b"\x03\x00" + UUID, "", "AWS Glue"),
        ([], b"\x03\x05" + UUID, "", "AWS Glue"),
        ([], b"\0\0\0\0" + HEX, "", "Azure"),
        ([], b"\0\0\0\0" + HEX.upper(), "", "Azure"),
        ([("Content-Type", b"avro/binary+" + HEX)], b"x", "", "Azure"),
        ([("contentType", b"avro/binary+" + HEX)], b"x", "", "Azure"),
        ([("apicurio.value.contentId", bytes(8))], b"\0\0\0\0\5x", "apicurio", "contentId"),
        ([("apicurio.value.globalId", bytes(8))], b"x", "apicurio", "globalId"),
        ([("apicurio.value.contentHash", b"abc")], b"x", "", "Apicurio's headers"),
        ([("__value_schema_id", b"\0\0\0\0\5")], b"x", "confluent", "header"),
        ([], b"\0" + (5).to_bytes(8, "big") + b"x", "apicurio", "8-byte"),
        ([], b"\0" + (2**32 - 1).to_bytes(8, "big") + b"x", "apicurio", "8-byte"),
        ([], b"\0\0\0\0\5x", "confluent", "4-byte"),
        ([], b"\0\0\0\0\1" + b"payload" * 9, "confluent", "4-byte"),
        ([], b"\0\1\0\0\1" + b"payload" * 9, "confluent", "4-byte"),
        ([], b"\1" + UUID, "confluent", "GUID"),
        ([], b"\xc3\1" + bytes(8), "single_object", "C3 01"),
        ([], b'{"a":1}', "", "JSON"),
    ],
)
def test_a_framing_is_named_with_the_setting_for_it(
    headers: list[tuple[str, bytes | None]], value: bytes, ours: str, words: str
) -> None:
    found = named_framing(headers, value)
    assert found is not None
    assert found[0] == ours
    assert words in found[1]
    assert (f'framing = "{ours}"' in found[1]) is bool(ours)


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([], b""),
        ([], b"\x03\x02" + UUID),
        ([], b"\x03\x00" + UUID[1:]),
        ([], b"\0\0\0\5"),
        ([], b"\x02ab"),
        ([("content-type", b"application/json")], b"\x02ab"),
        ([("content-type", None)], b"\x02ab"),
    ],
)
def test_what_is_not_known_has_no_name(headers: list[tuple[str, bytes | None]], value: bytes) -> None:
    assert named_framing(headers, value) is None
