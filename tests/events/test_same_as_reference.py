"""The mapping by columns gives the same payloads, rejections, skips and counts as the reference."""

from __future__ import annotations

import io
from collections.abc import Sequence, Set
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_capi.events.explain import explain
from stream_capi.events.paths import table_of
from stream_capi.events.rules import SourceRules
from stream_capi.events.transform import Transform, compile_source
from stream_capi.model import Code, Rejection, Transformed
from tests.avro.records import decoder
from tests.events.hostile_values import IDS, NASTY
from tests.events.random_schemas import deliveries, paths, plain, schemas, sources, values
from tests.events.reference import Counts, hashed, outcome_of
from tests.events.sources_and_records import LEAD, NOW, PAGE_VIEW, TOPIC, lead, rules
from tests.proof.profile import SHORT

OFTEN = settings(deadline=None, max_examples=60 if SHORT else 300, suppress_health_check=list(HealthCheck))


Row = dict[str, Any] | Rejection
UNREADABLE = Rejection(Code.DECODE_ERROR, "the record ends early")


class Sink:
    """Records the counts that the metrics would get."""

    def __init__(self) -> None:
        self.counts: Counts = Counts()

    def mapped(self, pixel: str, event: str, n: int) -> None:
        self.counts["mapped", pixel, event] += n

    def identifiers(self, pixel: str, event: str, field: str, n: int) -> None:
        self.counts["identifiers", pixel, event, field] += n

    def dropped(self, field: str, reason: str, n: int) -> None:
        self.counts["dropped", field, reason] += n

    def suspect(self, event: str, field: str, reason: str, n: int) -> None:
        self.counts["suspect", event, field, reason] += n


def counted(transform: Transform) -> Counts:
    sink = Sink()
    transform.counts.drain_into(sink)
    return sink.counts


class Listed:
    """A suppression list that isn't hashed."""

    def __init__(self, people: Set[tuple[str, str]]) -> None:
        self.people = people

    def key_of_hash(self, text: str) -> bytes:
        return f"hash {text}".encode()

    def key_of_user_id(self, text: str) -> bytes:
        return f"id {text}".encode("utf-8", "surrogatepass")

    def among(self, keys: Sequence[bytes]) -> list[int]:
        listed = {self.key_of_hash(text) if kind == "hash" else self.key_of_user_id(text) for kind, text in self.people}
        return [at for at, key in enumerate(keys) if key in listed]


def compare(raw: Any, rows: list[Row], of_source: SourceRules, people: Set[tuple[str, str]] = frozenset()) -> None:
    """Compare with the reference: records mapped together, one by one, and in two chunks; the first one explained."""
    counts: Counts = Counts()
    expected: list[Transformed] = [
        row if isinstance(row, Rejection) else outcome_of(of_source, raw, row, (TOPIC, 3, 7 + at), NOW, counts, people)
        for at, row in enumerate(rows)
    ]
    listed = Listed(people) if people else None
    transform = compile_source(of_source, raw, people=listed)

    def mapped(start: int, end: int) -> list[Transformed]:
        table = table_of(rows[start:end], transform.paths)
        return transform.apply(table, TOPIC, 3, range(7 + start, 7 + end), NOW)

    made = mapped(0, len(rows))
    assert made == expected
    assert list(map(type, made)) == list(map(type, expected))
    assert counted(transform) == counts
    assert [one for at in range(len(rows)) for one in mapped(at, at + 1)] == expected
    assert mapped(0, len(rows) // 3) + mapped(len(rows) // 3, len(rows)) == expected
    if not isinstance(rows[0], Rejection):
        assert explain(of_source, raw, rows[0], (TOPIC, 3, 7), NOW, people=listed).outcome == expected[0]


def decoded(raw: Any, given_values: list[Any]) -> list[Row]:
    payloads = []
    schema = fastavro.parse_schema(plain(raw))
    for value in given_values:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, value)
        payloads.append(out.getvalue())
    return list(decoder(raw).decode(payloads))


def some_unreadable(data: st.DataObject, rows: list[Row]) -> list[Row]:
    if data.draw(st.sampled_from((False, False, False, True))):
        return [UNREADABLE if data.draw(st.sampled_from((False, False, True))) else row for row in rows]
    return rows


@pytest.mark.repeat(of="test_hard_values_in_the_shipped_contract")
@pytest.mark.slow
@OFTEN
@given(st.data())
def test_any_schema(data: st.DataObject) -> None:
    raw = data.draw(schemas())
    source, delivery = data.draw(sources(paths(raw))), data.draw(deliveries)
    n = data.draw(st.sampled_from((1, 2, 5, 8, 12)))
    rows = decoded(raw, [values(data.draw, raw) for _ in range(n)])
    compare(raw, some_unreadable(data, rows), rules(delivery=delivery, **source))


DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "event_source_url": st.from_regex(r"\Ahttps?://[a-zA-Z0-9.\-~_]{1,12}(:[0-9]{0,5})?(/[a-z%#?&=\n ]{0,12})?\Z"),
    "client_ip_address": st.one_of(st.from_regex(r"\A[0-9]{1,3}(\.[0-9]{1,3}){3}\Z"), st.ip_addresses().map(str)),
    "phone": st.text("0123456789+ ", max_size=18),
    "value": st.floats(),
}
MAPPED = ("email", "user_id", "zip", "aleid", "client_ip_address")
FROM = ("email", "sid", "zip", "ifa", "event_source_url", "client_ip_address", "phone")


def value_of(name: str) -> st.SearchStrategy[Any]:
    """Values of a field of the shipped contract that are hard to get right."""
    nasty = st.sampled_from(NASTY.get(name, IDS))
    some = st.one_of(nasty, DRAWN[name]) if name in DRAWN else nasty
    return some if name in ("event_time", "value") else st.one_of(st.none(), some, some)


def leads(data: st.DataObject, raw: Any) -> list[dict[str, Any]]:
    """Records of which all or some have hard values in the same few fields."""
    names = [field["name"] for field in raw["fields"]]
    wild = data.draw(st.lists(st.sampled_from(names), max_size=6, unique=True))
    often = data.draw(st.booleans())
    rows = []
    for _ in range(data.draw(st.sampled_from((1, 3, 6, 7, 20)))):
        row = {name: value for name, value in lead(email="a@b.example", sid="s").items() if name in names}
        for name in wild:
            if often or data.draw(st.booleans()):
                row[name] = data.draw(value_of(name))
        rows.append(row)
    return rows


def some(data: st.DataObject, rows: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Some people of these records, to be suppressed; mostly nobody."""
    if data.draw(st.sampled_from((0, 0, 1))) == 0:
        return set()
    found: set[tuple[str, str]] = {("id", "nobody")}
    for row in rows:
        texts = [str(row[name]).strip() for name in ("email", "phone", "user_id", "sid") if row.get(name)]
        if texts and data.draw(st.sampled_from((0, 1))):
            text = data.draw(st.sampled_from(texts))
            digits = "".join(sign for sign in text if sign in "0123456789")
            for one in (text, text.lower(), digits, digits.lstrip("0")):
                found |= {("id", one), ("hash", hashed(one)), ("hash", one)}
    return found


@pytest.mark.slow
@OFTEN
@given(st.data())
def test_hard_values_in_the_shipped_contract(data: st.DataObject) -> None:
    view = data.draw(st.booleans())
    raw: Any = PAGE_VIEW if view else LEAD
    rows = leads(data, raw)
    source: dict[str, Any] = {"event": "page_view" if view else "generate_lead"}
    source["pixel"] = data.draw(st.sampled_from(("main", "strict")))
    if data.draw(st.booleans()):
        source["phone_region"] = data.draw(
            st.sampled_from(("US", "DE", {"path": "country_code"}, {"path": ["sid", "zip"]}))
        )
    if data.draw(st.booleans()):
        several = st.lists(st.sampled_from(FROM), min_size=1, max_size=3)
        mapped = data.draw(st.lists(st.sampled_from(MAPPED), max_size=3, unique=True))
        source["fields"] = {f"user_data.{name}": data.draw(several) for name in mapped}
        source["fields"] |= {
            name: data.draw(several) for name in ("event_source_url", "dedupe_id") if data.draw(st.booleans())
        }
    if data.draw(st.booleans()) and not view:
        source["default_currency"] = data.draw(st.sampled_from(("EUR", "eur")))
        source["values"] = {"field": "sid", "table": {"s": 4.5, "42": 0}}
        source["values"] |= {"default": 0.5} if data.draw(st.booleans()) else {}
    if data.draw(st.booleans()):
        source |= {"consent_field": "idfv", "without_consent": data.draw(st.sampled_from(("skip", "strip")))}
        rows = [row | {"idfv": data.draw(st.sampled_from((None, "yes", "no")))} for row in rows]
    compare(raw, some_unreadable(data, list(rows)), rules(delivery=data.draw(deliveries), **source), some(data, rows))
