"""Edge values of every rule, each with the right outcome; independent of how the rules are implemented.

A row: the target, the Avro type of the source field, its value, and the right outcome. ``right`` is ``Sent(value)``,
``Dropped(reason)`` (left out and counted), ``ABSENT`` (left out and not counted), or the code of a dead letter.
"""

from __future__ import annotations

import math
import sys
from hashlib import sha256
from typing import Any, NamedTuple

from stream_capi.model import Code


class Sent(NamedTuple):
    value: Any


class Dropped(NamedTuple):
    reason: str


class Edge(NamedTuple):
    target: str
    kind: Any
    value: Any
    right: Sent | Dropped | Code | None
    unit: str | None = None

    def __str__(self) -> str:
        kind = self.kind if isinstance(self.kind, str) else self.kind.get("logicalType", self.kind["type"])
        shown = repr(self.value)
        return f"{self.target} {kind} {shown if len(shown) < 40 else shown[:18] + f'...{len(shown)}'} {self.unit or ''}"


ABSENT = None
ODD_SCALES: tuple[Any, ...] = (10**9, 10**400, -1, "2", None, [], True, 2.0)
MISSING, INVALID, FUTURE = Code.MISSING_FIELD, Code.INVALID_FIELD, Code.IN_FUTURE
MAX, TINY, INF = sys.float_info.max, 5e-324, math.inf
FLOATS = (MAX, -MAX, INF, -INF, math.nan, TINY, -TINY, 0.0, -0.0, 2.0**53, 1e22, 0.1)
LONGS = (2**63 - 1, -(2**63), 2**53 + 1, 0, -1, 10**11, 10**11 - 1, 10**14 - 1, 10**14)
INTS = (2**31 - 1, -(2**31), 0, -1)
NOW = 1_741_784_485_000
ZEROS = "0" * 900_000
MARKS = "\u0301\u0323" * 60_000
HUGE = "1" + "0" * 400


def logical(base: str, name: Any, **more: Any) -> dict[str, Any]:
    return {"type": base, "logicalType": name, **more}


def fixed(size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": "Fixed", "size": size, **more}


def decimal(scale: Any, precision: Any = 38) -> dict[str, Any]:
    return logical("bytes", "decimal", precision=precision, scale=scale)


def hashed(text: str) -> Sent:
    return Sent(sha256(text.encode()).hexdigest())


EDGES = [
    # event_time
    *(Edge("event_time", "double", value, INVALID, unit) for value in FLOATS for unit in ("s", "ms", "us")
      if value not in (2.0**53, 1e22) and (value, unit) != (0.1, "s")),
    Edge("event_time", "double", 0.1, Sent(100), "s"),
    Edge("event_time", "double", 2.0**53, INVALID, "s"),
    Edge("event_time", "double", 2.0**53, FUTURE, "us"),
    Edge("event_time", "double", NOW / 1000, Sent(NOW), "s"),
    Edge("event_time", "float", 3.4028234663852886e38, INVALID, "s"),
    *(Edge("event_time", "long", value, INVALID, unit) for value in (2**63 - 1, -(2**63), 0, -1) for unit in ("s", "ms", "us")),
    Edge("event_time", "long", 10**11, Sent(10**11)),
    Edge("event_time", "long", 10**11 - 1, INVALID),
    Edge("event_time", "long", 10**14 - 1, FUTURE),
    Edge("event_time", "long", 10**14, INVALID),
    Edge("event_time", logical("long", "timestamp-nanos"), 2**63 - 1, FUTURE),
    Edge("event_time", logical("long", "timestamp-micros"), 2**63 - 1, INVALID),
    Edge("event_time", logical("int", "date"), 2**31 - 1, INVALID),
    Edge("event_time", logical("int", "date"), -(2**31), INVALID),
    Edge("event_time", logical("int", "date"), 20_000, Sent(20_000 * 86_400_000)),
    Edge("event_time", "boolean", True, INVALID),
    *(Edge("event_time", "string", text, INVALID, "s") for text in (
        HUGE, "-" + HUGE, "1e999", "1e-999", "1.7e308", "nan", "inf", "٣" * 10, "9" * 41, "1_0", "0x10", "\0", "1\0",
        "0001-01-01T00:00:00+23:59", "0000-01-01T00:00:00Z", "2025-02-30T00:00:00Z", "2025-03-12T24:00:01Z", "2025-03-12T13:01:25+99:99",
        ZEROS, " " * 900_000, MARKS)),
    Edge("event_time", "string", "9999-12-31T23:59:59Z", INVALID),
    Edge("event_time", "string", "5000-12-31T23:59:59-23:59", FUTURE),
    Edge("event_time", "string", "1741784485", Sent(NOW), "s"),
    Edge("event_time", "string", " " * 200 + "1741784485", Sent(NOW), "s"),
    Edge("event_time", "string", "", MISSING),
    # data.value
    Edge("data.value", "double", MAX, Sent(MAX)),
    Edge("data.value", "double", TINY, Sent(TINY)),
    Edge("data.value", "double", -0.0, Sent(0.0)),
    *(Edge("data.value", "double", value, INVALID) for value in (INF, -INF, math.nan, -TINY, -MAX)),
    Edge("data.value", "long", 2**63 - 1, Sent(float(2**63 - 1))),
    Edge("data.value", "long", -1, INVALID),
    Edge("data.value", "boolean", True, INVALID),
    Edge("data.value", decimal(0), b"\x7f" + b"\xff" * 63, Sent(float(2**511 - 1))),
    Edge("data.value", decimal(0), b"\x7f" + b"\xff" * 64, INVALID),
    Edge("data.value", decimal(0), b"\x80" + b"\0" * 63, INVALID),
    Edge("data.value", decimal(0), (10**400).to_bytes(167, "big"), INVALID),
    Edge("data.value", decimal(0), b"", Sent(0.0)),
    Edge("data.value", decimal(300), b"\x01", Sent(1e-300)),
    Edge("data.value", decimal(301), b"\x01", INVALID),
    Edge("data.value", decimal(2, precision=10**9), b"\x03\xe8", Sent(10.0)),
    *(Edge("data.value", decimal(scale), b"\x01", INVALID) for scale in ODD_SCALES),
    Edge("data.value", "string", "1e308", Sent(1e308)),
    *(Edge("data.value", "string", text, INVALID) for text in (
        "1e309", HUGE, "-1", "nan", "inf", "١", "1\0", "1,5", ZEROS, " " * 900_000, MARKS)),
    Edge("data.value", "string", "", MISSING),
    # texts sent unchanged
    Edge("user_data.user_id", "string", "u\0-1", Sent("u\0-1")),
    Edge("user_data.user_id", "string", "\0", Sent("\0")),
    Edge("user_data.user_id", "string", "\x1f", ABSENT),  # Python's str.strip() removes separators too
    Edge("user_data.user_id", "string", "x" * 8_192, Sent("x" * 8_192)),
    Edge("user_data.user_id", "string", "x" * 8_193, Dropped("too_long")),
    Edge("user_data.user_id", "string", " " * 8_192, ABSENT),
    Edge("user_data.user_id", "string", " " * 8_193, Dropped("too_long")),
    Edge("user_data.user_id", "long", 2**63 - 1, Sent(str(2**63 - 1))),
    Edge("user_data.user_id", "long", -(2**63), Sent(str(-(2**63)))),
    Edge("user_data.user_id", "boolean", True, Dropped("type")),
    *(Edge("user_data.user_id", "double", value, Dropped("type")) for value in (MAX, INF, math.nan, TINY, 2.0**53)),
    Edge("user_data.user_id", "double", -0.0, Sent("0")),
    Edge("user_data.user_id", "double", 2.0**53 - 1, Sent(str(2**53 - 1))),
    Edge("user_data.user_id", decimal(0), (10**400).to_bytes(167, "big"), Dropped("type")),
    Edge("user_data.user_id", decimal(300), b"\x01", Sent("0." + "0" * 299 + "1")),
    Edge("user_data.user_id", decimal(301), b"\x01", Dropped("type")),
    Edge("user_data.user_id", "bytes", b"\xff\0", Dropped("type")),
    Edge("user_data.user_id", fixed(16, logicalType="uuid"), b"\xff" * 16, Sent("ffffffff-ffff-ffff-ffff-ffffffffffff")),
    Edge("user_data.user_id", fixed(15, logicalType="uuid"), b"\xff" * 15, Dropped("type")),
    *(Edge(f"user_data.{field}", "string", ZEROS, Dropped("too_long")) for field in (
        "aleid", "axwrt", "alart", "client_id", "user_id", "email", "phone", "country_code", "zip", "os", "sid", "ifa", "idfv")),
    # email and phone
    Edge("user_data.email", "string", "a@" + "b" * 1_022, hashed("a@" + "b" * 1_022)),
    Edge("user_data.email", "string", "a@" + "b" * 1_023, Dropped("too_long")),
    Edge("user_data.email", "string", "a\0@b", Dropped("not_one_address")),
    Edge("user_data.email", "string", "İ@b", hashed("i̇@b")),
    Edge("user_data.email", "string", "@" * 1_000_000, Dropped("too_long")),
    Edge("user_data.email", "long", 2**63 - 1, Dropped("no_at")),
    Edge("user_data.phone", "string", "0" * 256, Dropped("digits")),
    Edge("user_data.phone", "string", "0" * 240 + "6505551212", hashed("6505551212")),
    Edge("user_data.phone", "string", "0" * 241 + "6505551212", hashed("06505551212")),
    Edge("user_data.phone", "string", "+" * 245 + "16505551212", hashed("16505551212")),
    Edge("user_data.phone", "string", "+" * 246 + "16505551212", Dropped("too_long")),
    Edge("user_data.phone", "string", "٣" * 10, Dropped("digits")),
    Edge("user_data.phone", "string", "\0" * 10, Dropped("digits")),
    Edge("user_data.phone", "long", 2**63 - 1, Dropped("digits")),
    Edge("user_data.phone", "double", 1e22, Dropped("type")),
    # codes
    Edge("user_data.os", "string", "iOS" + " " * 61, Sent("ios")),
    Edge("user_data.os", "string", "iOS" + " " * 62, Dropped("too_long")),
    Edge("user_data.os", "string", "9" * 64, Dropped("unknown")),
    Edge("user_data.country_code", "string", "ß", Dropped("unknown")),
    Edge("user_data.country_code", "string", "us\0", Dropped("unknown")),
    Edge("user_data.zip", "string", "9" * 64, Sent("9" * 64)),
    Edge("user_data.zip", "string", "9" * 65, Dropped("too_long")),
    Edge("data.currency", "string", "usd" + " " * 61, Sent("USD")),
    Edge("data.currency", "string", "usd" + " " * 62, INVALID),
    Edge("data.currency", "string", " " * 64, MISSING),
    Edge("data.currency", "long", 2**63 - 1, INVALID),
    Edge("user_data.esi", "string", "web" + " " * 61, Sent("web")),
    Edge("user_data.esi", "string", "web" + " " * 62, INVALID),
    Edge("user_data.esi", "boolean", False, INVALID),
    # addresses and agents
    Edge("user_data.client_ip_address", "string", "203.0.113.9" + " " * 1_013, Sent("203.0.113.9")),
    Edge("user_data.client_ip_address", "string", "203.0.113.9" + " " * 1_014, INVALID),
    *(Edge("user_data.client_ip_address", "string", text, INVALID) for text in (
        "1.2.3.4\0", ":" * 1_000, "1." * 500, "%" * 1_000, "[" * 1_000, "," * 1_024, "1.2.3.4.", "٣.0.0.1", MARKS, ":" * 900_000)),
    Edge("user_data.client_ip_address", "string", "::1%eth0", Sent("::1")),
    Edge("user_data.client_ip_address", "string", "[2001:db8::1%" + "z" * 1_010 + "]", Sent("2001:db8::1")),
    Edge("user_data.client_user_agent", "string", "m" * 8_192, Sent("m" * 8_192)),
    Edge("user_data.client_user_agent", "string", "m" * 8_193, INVALID),
    Edge("user_data.client_user_agent", "string", "\0", Sent("\0")),
    # URLs
    Edge("event_source_url", "string", "https://h.example/" + "a" * 8_174, Sent("https://h.example/" + "a" * 8_174)),
    Edge("event_source_url", "string", "https://h.example/" + "a" * 8_175, INVALID),
    Edge("event_source_url", "string", "https://h.example/\u0301", Sent("https://h.example/%CC%81")),
    *(Edge("event_source_url", "string", text, INVALID) for text in (
        f"https://{MARKS}/", "https://" + MARKS[:253], "https://" + MARKS[:8_000], "https://" + "a" * 254, "https://\0/", "https://h.example/\0",
        "https://h.example/a\nb", "https://[" + ":" * 8_000 + "]/", "https://" + "@" * 8_000, "https://h.example:99999/", "https://h.example:65536/",
        "https://[::1", "https://::1]/", "https://[v1.x]/", "https://℀.example/", "https://a℀b/", "https://", "https:///x", "https://:80/",
        "https://." , "https://h.example:٣/", "javascript:" + "a" * 8_000, ZEROS)),
    Edge("event_source_url", "string", "https://user:pass@h.example/x y", Sent("https://h.example/x%20y")),
    Edge("event_source_url", "string", "HTTPS://u@H.Example:0080/x y?a=é#%", Sent("https://h.example:80/x%20y?a=%C3%A9#%25")),
    Edge("event_source_url", "string", "https://[2001:DB8::1]:/x y", Sent("https://[2001:db8::1]/x%20y")),
    Edge("event_source_url", "string", "https://" + "é." * 20 + "example", Sent("https://" + "xn--9ca." * 20 + "example")),
    Edge("event_source_url", "string", "https://" + "\ufdfa" * 31, INVALID),
    Edge("event_source_url", "string", "https://bücher.example", Sent("https://xn--bcher-kva.example")),
]  # fmt: skip
