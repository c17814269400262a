"""``event_time``: every form that is accepted, and forms that would have to be guessed (contract, section 5)."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.events.transform import Transform, compile_source
from stream_capi.model import Code, Rejection, Transformed
from tests.events.sources_and_records import (
    LEAD,
    NOW,
    apply,
    lead,
    lead_rejected,
    lead_sent,
    nullable,
    outcome,
    record,
    rules,
    sent,
)

AT = 1_741_784_485_123


def of_time(kind: Any, unit: str | None = None, delivery: dict[str, Any] | None = None) -> Transform:
    rule: Any = "at" if unit is None else {"path": "at", "unit": unit}
    return compile_source(rules(delivery=delivery, fields={"event_time": rule}), _schema_of(kind))


def _schema_of(kind: Any) -> Any:
    return record(**{f["name"]: f["type"] for f in LEAD["fields"] if f["name"] != "event_time"}, at=kind)


def made_of(kind: Any, value: Any, unit: str | None = None) -> Transformed:
    return apply(of_time(kind, unit), lead(at=value))


def logical(name: str, kind: str = "long") -> dict[str, str]:
    return {"type": kind, "logicalType": name}


def connector(name: str, kind: str = "long") -> dict[str, Any]:
    return {"type": kind, "connect.version": 1, "connect.name": name}


@pytest.mark.parametrize(
    ("kind", "value", "unit", "expected"),
    [
        (logical("timestamp-millis"), AT, None, AT),
        (logical("timestamp-micros"), AT * 1000 + 999, None, AT),
        (logical("timestamp-nanos"), AT * 1_000_000 + 999_999, None, AT),
        (logical("local-timestamp-millis"), AT, None, AT),
        (logical("local-timestamp-micros"), AT * 1000, None, AT),
        (logical("date", "int"), 20_159, None, 1_741_737_600_000),
        ("long", AT, None, AT),
        ("long", AT, "ms", AT),
        ("long", 1_741_784_485, "s", 1_741_784_485_000),
        ("int", 1_741_784_485, "s", 1_741_784_485_000),
        ("long", AT * 1000 + 1, "us", AT),
        ("double", 1_741_784_485.123, "s", AT),
        ("double", float(AT), None, AT),
        ("string", "2025-03-12T13:01:25.123Z", None, AT),
        ("string", "2025-03-12T13:01:25.123456Z", None, AT),
        ("string", "2025-03-12T15:01:25.123+02:00", None, AT),
        ("string", "2025-03-12 08:01:25,123-0500", None, AT),
        ("string", " 2025-03-12t13:01:25z ", None, 1_741_784_485_000),
        ("string", "20250312T130125Z", None, 1_741_784_485_000),
        ("string", "1741784485.123", "s", AT),
        ("string", "1741784485123", "ms", AT),
        ("string", str(AT * 1000 + 999), "us", AT),
        ("double", AT * 1000.0, "us", AT),
        ("double", float(AT), "ms", AT),
        ("string", "2025-03-12T13:01:25.123Z", "s", AT),
        (nullable(logical("timestamp-millis")), AT, None, AT),
        (["null", "string", logical("timestamp-millis")], AT, None, AT),
        (["null", "string", logical("timestamp-micros")], AT * 1000, None, AT),
        (["null", "string", logical("timestamp-nanos")], AT * 1_000_000, None, AT),
        (["null", "string", logical("local-timestamp-millis")], AT, None, AT),
        (["null", "string", logical("local-timestamp-micros")], AT * 1000, None, AT),
        (["null", "string", logical("local-timestamp-nanos")], AT * 1_000_000, None, AT),
        (["null", "string", logical("timestamp-micros")], "2025-03-12T13:01:25.123Z", None, AT),
        ("long", AT * 1_000_000 + 999_999, "ns", AT),
        ("double", AT * 1_000_000.0, "ns", AT),
        ("string", str(AT * 1_000_000 + 999_999), "ns", AT),
        # A zone in brackets (Java's ZonedDateTime, RFC 9557); the offset decides.
        ("string", "2025-03-12T15:01:25.123+02:00[Europe/Athens]", None, AT),
        ("string", "2025-03-12T13:01:25.123Z[Etc/GMT+0]", None, AT),
        ("string", "2025-03-12T08:01:25.123-05:00[!America/New_York][u-ca=gregory]", None, AT),
        ("string", "2025-03-12T15:01:25.123+02:00[+02:00]", "s", AT),
        # Types of Kafka Connect and Debezium, by their connect.name.
        (connector("io.debezium.time.Timestamp"), AT, None, AT),
        (connector("io.debezium.time.MicroTimestamp"), AT * 1000 + 999, None, AT),
        (connector("io.debezium.time.MicroTimestamp"), AT * 1000 + 999, "us", AT),
        (connector("io.debezium.time.NanoTimestamp"), AT * 1_000_000 + 999_999, None, AT),
        (nullable(connector("io.debezium.time.NanoTimestamp")), AT * 1_000_000, None, AT),
        (connector("io.debezium.time.ZonedTimestamp", "string"), "2025-03-12T13:01:25.123456Z", None, AT),
        (
            connector("io.debezium.time.ZonedTimestamp", "string"),
            "2025-03-12T15:01:25.123+02:00[Europe/Athens]",
            None,
            AT,
        ),
        (connector("io.debezium.time.Date", "int"), 20_159, None, 1_741_737_600_000),
        (connector("org.apache.kafka.connect.data.Timestamp"), AT, None, AT),
        (connector("org.apache.kafka.connect.data.Date", "int"), 20_159, None, 1_741_737_600_000),
        (connector("org.apache.kafka.connect.data.Timestamp") | logical("timestamp-millis"), AT, None, AT),
        # The name is ignored on another Avro type, and if it is another vendor's.
        (connector("io.debezium.time.MicroTimestamp", "string"), "2025-03-12T13:01:25.123Z", None, AT),
        (connector("com.acme.MicroTimestamp"), AT, None, AT),
        # A logical type on the wrong Avro type is ignored (Avro specification).
        (logical("timestamp-micros", "string"), "2025-03-12T13:01:25.123Z", None, AT),
        (logical("timestamp-something"), AT, None, AT),
    ],
)
def test_a_time_becomes_epoch_milliseconds(kind: Any, value: Any, unit: str | None, expected: int) -> None:
    made = sent(made_of(kind, value, unit))["event_time"]
    assert made == expected
    assert type(made) is int


@pytest.mark.parametrize(
    ("kind", "value", "unit"),
    [
        # seconds that would be read as milliseconds
        ("long", 1_741_784_485, None),
        ("long", 1_741_784_485, "ms"),
        ("double", 1_741_784_485.5, None),
        ("long", 10**11 - 1, None),
        (logical("timestamp-millis"), 1_741_784_485, None),
        # microseconds that would be read as milliseconds; milliseconds as seconds
        ("long", AT * 1000, None),
        ("long", AT, "s"),
        ("long", AT, "us"),
        # text without an offset, without a time, without a unit
        ("string", "2025-03-12T13:01:25.123", None),
        ("string", "2025-03-12", None),
        ("string", "12/03/2025 13:01", None),
        ("string", "1741784485123", None),
        ("string", "yesterday", None),
        ("string", "now", None),
        ("string", "yesterday", "s"),
        ("string", "2025-02-30T00:00:00Z", None),
        ("string", "2025-03-12T25:00:00Z", None),
        ("string", "0000-01-01T00:00:00Z", None),
        ("string", "1e30", "s"),
        ("string", "1e-999", "s"),
        ("long", AT * 1_000_000, "us"),
        ("long", AT * 1000, "ns"),
        # a zone without an offset, or none in the brackets
        ("string", "2025-03-12T13:01:25.123[Europe/Athens]", None),
        ("string", "2025-03-12T13:01:25.123Z[]", None),
        ("string", "2025-03-12T13:01:25.123Z[Europe/Athens", None),
        ("string", "2025-03-12T13:01:25.123Z[Europe/Athens]Z", None),
        ("string", "2025-03-12T13:01:25.123Z" + "[a]" * 5, None),
        # a connector's time of day, and its time in another unit
        (connector("io.debezium.time.Time", "int"), 1_000, None),
        (connector("io.debezium.time.MicroTime"), AT, None),
        (connector("io.debezium.time.NanoTime"), AT, None),
        (connector("org.apache.kafka.connect.data.Time", "int"), 1_000, None),
        (connector("io.debezium.time.ZonedTime", "string"), "13:01:25Z", None),
        (connector("io.debezium.time.MicroTimestamp"), AT, "ms"),
        # not a time
        (logical("time-millis", "int"), 1_000, None),
        (logical("time-micros"), AT, None),
        (logical("time-micros"), -AT, None),
        (logical("time-millis", "int"), -1_741_784_485, "s"),
        ("boolean", True, None),
        ("double", float("nan"), None),
        ("double", float("inf"), "s"),
        ("double", 1e300, "s"),
        ("long", 0, "s"),
        ("long", -1_741_784_485, "s"),
        ("long", 2**63 - 1, "us"),
        ("long", -(2**63), None),
    ],
)
def test_what_is_no_believable_time_is_invalid(kind: Any, value: Any, unit: str | None) -> None:
    made = made_of(kind, value, unit)
    assert isinstance(made, Rejection)
    assert made.code is Code.INVALID_FIELD
    assert made.detail.startswith("event_time: must be a time: ")
    assert str(value) not in made.detail.replace("10^11", "").replace("8601", "")


def test_seconds_before_1973_are_believed_where_the_unit_says_seconds() -> None:
    old = sent(apply(of_time("long", "s"), lead(at=86_400)))
    assert old["event_time"] == 86_400_000
    assert sent(made_of("long", 10**11))["event_time"] == 10**11


@pytest.mark.parametrize(
    ("kind", "value", "unit", "believed"),
    [
        ("long", 10**11 - 1, None, False),
        ("long", 10**11, None, True),
        ("long", 10**14 - 1, None, True),
        ("long", 10**14, None, False),
        ("double", 0.0, "s", False),
        ("double", 0.001, "s", True),
        ("long", 10**11 - 1, "s", True),
        ("long", 10**11, "s", False),
        ("string", "9e999", "s", False),
    ],
)
def test_a_time_is_believed_from_1973_or_the_unit_of_seconds_to_5138(
    kind: str, value: Any, unit: str | None, believed: bool
) -> None:
    source: dict[str, Any] = {"fields": {"event_time": {"path": "at", "unit": unit} if unit else "at"}}
    made = outcome(rules(delivery={"max_future_seconds": 10**12}, **source), _schema_of(kind), lead(at=value))
    assert isinstance(made, bytes) is believed
    if isinstance(made, Rejection):
        assert made.code is Code.INVALID_FIELD


@pytest.mark.parametrize("kind", [nullable("string"), nullable("long"), nullable(logical("timestamp-millis"))])
def test_an_event_without_a_time_is_dead_lettered_and_never_given_the_present_one(kind: Any) -> None:
    made = made_of(kind, None)
    assert made == Rejection(Code.MISSING_FIELD, 'event_time: is absent (from "at")', "main")
    assert made_of("string", "") == Rejection(Code.MISSING_FIELD, 'event_time: is absent (from "at")', "main")


def test_an_event_is_as_old_as_the_settings_allow() -> None:
    limit = {"max_age_seconds": 60, "max_future_seconds": 5}
    for age, code in ((60_000, None), (60_001, Code.TOO_OLD), (-5_000, None), (-5_001, Code.IN_FUTURE)):
        made = apply(of_time("long", delivery=limit), lead(at=NOW - age))
        assert (made.code if isinstance(made, Rejection) else None) is code, age


def test_no_age_is_too_old_without_a_limit_but_the_future_has_one() -> None:
    assert lead_sent(event_time=10**11)["event_time"] == 10**11
    assert lead_sent(event_time=NOW + 600_000)["event_time"] == NOW + 600_000
    rejection = lead_rejected(event_time=NOW + 600_001)
    assert rejection.code is Code.IN_FUTURE
    assert rejection.detail == 'event_time: is more than delivery.max_future_seconds ahead (from "event_time")'


def test_a_map_gives_times_in_epoch_milliseconds() -> None:
    waves: dict[str, Any] = {"fields": {"event_time": {"path": "sid", "map": {"wave 1": 10**11, "wave 2": AT}}}}
    assert lead_sent(waves, sid=" wave 2 ")["event_time"] == AT
    assert lead_rejected(waves | {"delivery": {"max_age_seconds": 60}}, sid="wave 1").code is Code.TOO_OLD
    not_there = Rejection(Code.INVALID_FIELD, 'event_time: is not in its map (from "sid")', "main")
    assert lead_rejected(waves, sid="wave 3") == not_there
    assert lead_rejected(waves, sid=None).code is Code.MISSING_FIELD


def test_of_two_ways_to_count_none_is_guessed() -> None:
    branches = [
        {"type": "record", "name": name, "fields": [{"name": "at", "type": logical(kind)}]}
        for name, kind in (("A", "timestamp-millis"), ("B", "timestamp-micros"))
    ]
    raw = record(**{f["name"]: f["type"] for f in LEAD["fields"] if f["name"] != "event_time"}, of=branches)
    transform = compile_source(rules(fields={"event_time": "of.at"}), raw)
    for at in (AT, AT * 1000, -AT):
        made = apply(transform, lead(of={"at": at}))
        assert isinstance(made, Rejection)
        assert made.code is Code.INVALID_FIELD
