"""The mapping by columns against the compiled one: payloads, rejections, skips and counts are the same."""

from __future__ import annotations

import io
from typing import Any

import fastavro
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_capi.events.explain import explain
from stream_capi.events.paths import table_of
from stream_capi.events.transform import compile_source
from tests.avro.records import decoder
from tests.compiled.explain import explain as explain_old
from tests.compiled.transform import compile_source as compile_old
from tests.events.making import LEAD, NOW, PAGE_VIEW, TOPIC, lead, rules
from tests.events.wild import deliveries, paths, plain, schemas, sources, values

OFTEN = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))


class Sink:
    def __init__(self) -> None:
        self.told: dict[Any, int] = {}

    def _add(self, *told: Any) -> None:
        *key, n = told
        self.told[tuple(key)] = self.told.get(tuple(key), 0) + n

    def mapped(self, *told: Any) -> None:
        self._add("mapped", *told)

    def identifiers(self, *told: Any) -> None:
        self._add("identifiers", *told)

    def dropped(self, *told: Any) -> None:
        self._add("dropped", *told)

    def suspect(self, *told: Any) -> None:
        self._add("suspect", *told)


def drained(transform: Any) -> dict[Any, int]:
    sink = Sink()
    transform.counts.drain_into(sink)
    return sink.told


def compare(raw: Any, rows: list[Any], of_source: Any) -> list[Any]:
    offsets = list(range(7, 7 + len(rows)))
    old, new = compile_old(of_source, raw), compile_source(of_source, raw)
    expected = old.apply(rows, TOPIC, 3, offsets, NOW)
    made = new.apply(table_of(rows, new.paths), TOPIC, 3, offsets, NOW)
    assert made == expected
    assert list(map(type, made)) == list(map(type, expected))
    assert drained(new) == drained(old)
    alone = [
        one for at, row in enumerate(rows) for one in new.apply(table_of([row], new.paths), TOPIC, 3, [7 + at], NOW)
    ]
    assert alone == expected
    for at, row in enumerate(rows[:2]):
        place = (TOPIC, 3, 7 + at)
        assert shown(explain(of_source, raw, row, place, NOW)) == shown(explain_old(of_source, raw, row, place, NOW))
    return made


def decoded(raw: Any, given_values: list[Any]) -> list[Any]:
    payloads = []
    schema = fastavro.parse_schema(plain(raw))
    for value in given_values:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, schema, value)
        payloads.append(out.getvalue())
    return decoder(raw).decode(payloads)


@OFTEN
@given(st.data())
def test_any_schema(data: st.DataObject) -> None:
    raw = data.draw(schemas())
    source, delivery = data.draw(sources(paths(raw))), data.draw(deliveries)
    n = data.draw(st.sampled_from((1, 2, 5, 8, 12)))
    rows = decoded(raw, [values(data.draw, raw) for _ in range(n)])
    compare(raw, rows, rules(delivery=delivery, **source))


SPECIAL = {
    "event_source_url": st.one_of(
        st.sampled_from(
            (
                "https://a.example/?aleid=1%20&alart=2",
                "http://h/x y",
                " http://h ",
                "https://é.example/",
                "HTTP://H:80/#?aleid=1",
                "http://a\nhttp://b",
                'http://h/?aleid="%22',
                "x" * 9000,
                "http://h:99999/",
                "http://h/?aleid=%",
                "https://h.example/q?alart=a+b",
            )
        ),
        st.from_regex(r"\Ahttps?://[a-zA-Z0-9.\-~_]{1,12}(:[0-9]{0,5})?(/[a-z%#?&=\n ]{0,12})?\Z"),
    ),
    "client_ip_address": st.one_of(
        st.sampled_from(
            (
                "1.2.3.4",
                "10.0.0.1",
                "172.16.1.1",
                "172.32.0.1",
                " 8.8.8.8",
                "256.1.1.1",
                "01.2.3.4",
                "1.2.3.4\n",
                "2001:db8::1",
                "::1",
                "::ffff:10.0.0.1",
                "0.0.0.0",  # noqa: S104
                "127.0.0.1",
                "169.254.0.1",
                "192.168.0.1",
                "1.2.3",
                "25.25.25.25",
                "249.250.255.99",
                "1.2.3.4\n5.6.7.8",
            )
        ),
        st.from_regex(r"\A[0-9]{1,3}(\.[0-9]{1,3}){3}\Z"),
        st.ip_addresses().map(str),
    ),
    "client_user_agent": st.sampled_from(
        ("agent", ' "q" \\ é\u2028', "\x00", "\x1f a", "   ", "a\nb", "x" * 8192, "x" * 8193, '","', "\x7f", "😀")
    ),
    "email": st.sampled_from(
        (
            "a@b",
            " A@B.example\t",
            "ΑΣ@ΣΑΣ",
            "ab" * 32,
            "AB" * 32,
            "a@b\nc@d",
            "nobody",
            "é@x",
            "\x1c@",
            '"@"',
            "x" * 1024 + "@",
            "İ@x",
        )
    ),
    "phone": st.one_of(
        st.sampled_from(
            (
                "+1 (650) 555-1212",
                "0049 30 123456",
                "000123456789",
                "ab1" * 21 + "c",
                "12345",
                "1234567",
                "123456789012345",
                "1234567890123456",
                "١٢٣٤٥٦٧",
                "１２３４５６７",
                "1234567\n1234567",
                "00",
                "c" * 64,
                "CD" * 32,
                "1" * 64,
                "1" * 63,
                "1" * 257,
            )
        ),
        st.text("0123456789+ ", max_size=18),
    ),
    "country_code": st.sampled_from(("US", "us", " DE ", "ß", "XX", "US\u00a0", "GB", "ſs")),
    "zip": st.sampled_from(
        ("94025", "94025-1234", " 94025 ", "SW1A 1AA", "--", "1", "９４０２５", '"', "é", "1234 5", "12345\n")
    ),
    "os": st.sampled_from(("iOS", "Windows 10", "BeOS", "Mac OS X 10_15", " ", "android", "x" * 65)),
    "esi": st.sampled_from(("web", "app", "WEB", " app ", "server")),
    "currency": st.sampled_from(("USD", "usd ", "EUR", "XXX1", "USD\u00a0", "ß")),
    "value": st.one_of(
        st.sampled_from((0.0, -0.0, 1.5, 1e22, 1e-7, -1.0, float("nan"), float("inf"), 5e-324)), st.floats()
    ),
    "event_time": st.sampled_from((NOW, NOW - 1, NOW - 60_001, NOW + 600_001, 1, -1, 10**14, 2**62, 10**11)),
}
IDS = st.sampled_from(("id", " id ", '"', "\\", "é", "\n", "42", "042", "x" * 8193, "", "١", "a b"))
KINDS = {"event_time": None}


@OFTEN
@given(st.data())
def test_the_shipped_contract(data: st.DataObject) -> None:
    view = data.draw(st.booleans())
    raw: Any = PAGE_VIEW if view else LEAD
    names = [field["name"] for field in raw["fields"]]
    n = data.draw(st.sampled_from((1, 3, 6, 7, 20)))
    wild = data.draw(st.lists(st.sampled_from(names), max_size=6, unique=True))
    often = data.draw(st.booleans())
    rows = []
    for _ in range(n):
        row = {name: value for name, value in lead(email="a@b.example", sid="s").items() if name in names}
        for name in wild:
            if often or data.draw(st.booleans()):
                some = SPECIAL.get(name, IDS)
                nullable = name not in ("event_time", "value")
                row[name] = data.draw(st.one_of(st.none(), some, some) if nullable else some)
        rows.append(row)
    source: dict[str, Any] = {
        "event": "page_view" if view else "generate_lead",
        "pixel": data.draw(st.sampled_from(("main", "strict"))),
    }
    if data.draw(st.booleans()):
        fields: dict[str, Any] = {}
        for target in data.draw(
            st.lists(
                st.sampled_from(
                    (
                        "user_data.email",
                        "user_data.user_id",
                        "user_data.zip",
                        "event_source_url",
                        "dedupe_id",
                        "user_data.aleid",
                        "user_data.client_ip_address",
                    )
                ),
                max_size=3,
                unique=True,
            )
        ):
            fields[target] = data.draw(
                st.lists(
                    st.sampled_from(("email", "sid", "zip", "ifa", "event_source_url", "client_ip_address", "phone")),
                    min_size=1,
                    max_size=3,
                )
            )
        source["fields"] = fields
    if data.draw(st.booleans()) and not view:
        source["default_currency"] = data.draw(st.sampled_from(("EUR", "eur")))
        source["values"] = {"field": "sid", "table": {"s": 4.5, "42": 0}} | (
            {"default": 0.5} if data.draw(st.booleans()) else {}
        )
    if data.draw(st.booleans()):
        source |= {"consent_field": "idfv", "without_consent": data.draw(st.sampled_from(("skip", "strip")))}
        for row in rows:
            row["idfv"] = data.draw(st.sampled_from((None, "yes", "no")))
    compare(raw, rows, rules(delivery=data.draw(deliveries), **source))


def shown(explanation: Any) -> Any:
    lines = [
        tuple(str(part) if name == "verdict" else part for name in LINE for part in [getattr(line, name)])
        for line in explanation.lines
    ]
    return repr(lines), explanation.outcome, explanation.lane


LINE = ("target", "paths", "path", "raw", "rule", "result", "verdict", "note", "harmless")
