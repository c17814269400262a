"""Guesses a record's framing, one that this program reads or another system's, for messages about a wrong setting."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stream_capi.avro.framing import APICURIO, HEADER

_AZURE_TYPE = b"avro/binary+"
_AZURE_TYPE_HEADERS = ("content-type", "contenttype")
_is_azure = re.compile(rb"\0{4}[0-9a-f]{32}", re.IGNORECASE).match
_is_glue = re.compile(rb"\x03[\0\x05].{16}", re.DOTALL).match
_is_apicurio = re.compile(rb"\0{5}.{4}.", re.DOTALL).match  # an id below 2^32; read as Confluent's it would be 0: never
_OTHERS = "which this program doesn't read"


def named_framing(headers: Sequence[tuple[str, bytes | None]], value: bytes) -> tuple[str, str] | None:
    """The framing's name in the settings (empty if this program doesn't read it), and its description; None: not recognized.

    The surest signs are tried first, because a value that begins with a zero may be anything.
    """
    found = {name.lower(): text or b"" for name, text in headers}
    for name in APICURIO.values():
        if name.lower() in found:
            return "apicurio", f'Apicurio\'s id in the header {name}: set framing = "apicurio"'
    if any(name.startswith("apicurio.value.") for name in found):
        return "", f"Apicurio's headers without an id, {_OTHERS}"
    if HEADER in found:
        return "confluent", f'Confluent\'s id in the header {HEADER}: set framing = "confluent"'
    if any(found.get(name, b"").startswith(_AZURE_TYPE) for name in _AZURE_TYPE_HEADERS):
        return "", f"Azure Schema Registry's content type, {_OTHERS}"
    return _by_first_bytes(value)


def _by_first_bytes(value: bytes) -> tuple[str, str] | None:
    if _is_azure(value):
        return "", f"Azure Schema Registry's framing (four zeros and an id of 32 hexadecimal digits), {_OTHERS}"
    if _is_glue(value):
        return "", f"AWS Glue Schema Registry's framing (03, compression, a UUID), {_OTHERS}"
    if value.startswith(b"\xc3\x01") and len(value) >= 10:
        return "single_object", 'Avro\'s single-object framing (C3 01): set framing = "single_object"'
    if _is_apicurio(value):
        return "apicurio", 'Apicurio\'s 8-byte ids: set framing = "apicurio"'
    if value.startswith(b"\0") and len(value) >= 5:
        return "confluent", 'Confluent\'s framing (00 and a 4-byte id): set framing = "confluent"'
    if value.startswith(b"\x01") and len(value) >= 17:
        return "confluent", 'Confluent\'s framing (01 and a GUID): set framing = "confluent"'
    if value[:1] in (b"{", b"["):
        return "", f"JSON text, {_OTHERS}"
    return None
