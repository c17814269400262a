"""Required fields: URL, data, IP address, user agent, source of the event (contract, section 5)."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from stream_capi.events.transform import Transform, compile_source
from stream_capi.model import Code, Rejection
from tests.events.sources_and_records import (
    LEAD,
    apply,
    lead,
    lead_rejected,
    lead_sent,
    mapped,
    nullable,
    page_view_made,
    record,
    rules,
    sent,
)


def test_a_lead_is_sent_whole() -> None:
    event = lead_sent(email="John_Smith@gmail.com", phone="+1 (650) 555-1212", aleid="a", axwrt="x", alart="t", client_id="c",
                      country_code="us", zip="94025-1234", os="iOS", sid="s", ifa="i", idfv="v", dedupe_id="d")  # fmt: skip
    assert event == {
        "name": "generate_lead",
        "event_time": 1_741_784_485_000,
        "event_source_url": "https://shop.example/quote",
        "data": {"currency": "USD", "value": 30.0},
        "user_data": {
            "client_ip_address": "172.59.8.172",
            "client_user_agent": "chrome/123.456 android mobile",
            "esi": "web",
            "aleid": "a",
            "axwrt": "x",
            "alart": "t",
            "client_id": "c",
            "user_id": "user-1",
            "email": "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f",
            "phone": "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176",
            "country_code": "US",
            "zip": "94025",
            "os": "ios",
            "sid": "s",
            "ifa": "i",
            "idfv": "v",
        },
        "dedupe_id": "d",
    }


def test_a_page_view_has_null_data_whatever_the_record_has() -> None:
    event = sent(page_view_made())
    assert event["name"] == "page_view"
    assert event["data"] is None
    transform = compile_source(rules(event="page_view"), LEAD)
    assert sent(apply(transform, lead()))["data"] is None


# event_source_url


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "http://shop.example/",
        "HTTPS://Shop.Example/Path",
        "https://shop.example:8443/a/b;c=d?x=1&y=2#top",
        "https://shop.example?aleid=1",
        "https://a.b/~user/(x)!$&'*+,;=:@",
        "https://203.0.113.9/x",
        "https://a.b/%E2%82%AC?q=%20",
    ],
)
def test_an_absolute_url_is_sent_as_it_is(url: str) -> None:
    assert lead_sent(event_source_url=f" {url}\n")["event_source_url"] == url


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("https://shop.example/a b?q=ü|x", "https://shop.example/a%20b?q=%C3%BC%7Cx"),
        ("https://shop.example/100%", "https://shop.example/100%25"),
        ("https://shop.example/{id}#fräg", "https://shop.example/%7Bid%7D#fr%C3%A4g"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("https://user:secret@shop.example/x", "https://shop.example/x"),
        ("https://shop.example:65535/x", "https://shop.example:65535/x"),
        ("https://shop.example:/x", "https://shop.example/x"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
    ],
)
def test_a_url_that_a_browser_would_mend_is_mended(given: str, made: str) -> None:
    assert lead_sent(event_source_url=given)["event_source_url"] == made


@pytest.mark.slow
@pytest.mark.parametrize(("path", "made"), [("/x", "/x"), ("/a b", "/a%20b")])
def test_a_host_has_253_characters_at_most(path: str, made: str) -> None:
    longest = "https://" + ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert lead_sent(event_source_url=longest + path)["event_source_url"] == longest + made
    assert lead_rejected(event_source_url=f"{longest}d{path}").code is Code.INVALID_FIELD


@pytest.mark.parametrize(
    "url",
    [
        "/thanks",
        "shop.example/x",
        "//shop.example/x",
        "https:///x",
        "https://",
        "https://?x",
        "https:shop.example",
        "ftp://shop.example/x",
        "javascript:alert(1)",
        "https://a b.example/",
        "https://a\nb.example/",
        "https://-a.example/",
        "https://[::::]/",
        "https://[fe80::1%25eth0]/",
        "https://[shop]/",
        "https://a.b/x\x1fy",
        "https://a.b/é\ny",
        "https://shop.example:65536/",
        "https://shop.example:port/",
        f"https://{'ü' * 300}.example/",
        "https://…/",
    ],
)
def test_what_is_no_absolute_url_with_a_host_is_refused(url: str) -> None:
    rejection = lead_rejected(event_source_url=url)
    assert rejection.code is Code.INVALID_FIELD
    assert rejection.detail.startswith("event_source_url: must be an absolute http or https URL with a host")
    assert rejection.pixel == "main"


# data


@pytest.mark.parametrize(("given", "made"), [("USD", "USD"), (" eur ", "EUR"), ("try", "TRY")])
def test_a_currency_is_an_iso_code_in_upper_case(given: str, made: str) -> None:
    assert lead_sent(currency=given)["data"]["currency"] == made


@pytest.mark.parametrize("currency", ["US", "USDX", "ZZZ", "$", "usd eur"])
def test_another_currency_is_refused(currency: str) -> None:
    assert lead_rejected(currency=currency).code is Code.INVALID_FIELD


@pytest.mark.parametrize("value", [0.0, 0.01, 30.0, 1e300, 5e-324, sys.float_info.max])
def test_a_value_is_sent_as_it_is(value: float) -> None:
    assert lead_sent(value=value)["data"]["value"] == value


@pytest.mark.parametrize(
    ("given", "made"),
    [(30, b":30}"), (2**53 - 1, b":9007199254740991}"), (2**53, b":9007199254740992.0}"), (2**53 + 1, b":9007199254740992.0}")],
)  # fmt: skip
def test_a_whole_number_stays_one_as_far_as_every_reader_of_json_holds_it_exactly(given: int, made: bytes) -> None:
    payload = apply(of_value("long"), lead(value=given))
    assert isinstance(payload, bytes)
    assert b'"value"' + made in payload


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), -0.01, -1e300])
def test_a_value_that_is_not_finite_or_negative_is_refused(value: float) -> None:
    rejection = lead_rejected(value=value)
    assert rejection.code is Code.INVALID_FIELD
    assert rejection.detail == 'data.value: must be a finite number of 0 or more (from "value")'


def test_minus_zero_is_zero() -> None:
    made = apply(compile_source(rules(), LEAD), lead(value=-0.0))
    assert isinstance(made, bytes)
    assert b'"value":0.0' in made


def of_value(kind: object, const: object = None) -> Transform:
    raw = record(**{field["name"]: field["type"] for field in LEAD["fields"]} | {"value": kind})
    return compile_source(rules(fields={} if const is None else {"data.value": {"const": const}}), raw)


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}


@pytest.mark.parametrize(
    ("kind", "given", "made"),
    [
        ("int", 0, 0),
        ("long", 30, 30),
        ("long", 2**53 - 1, 2**53 - 1),
        ("long", 2**62, float(2**62)),
        ("float", 12.5, 12.5),
        ("string", " 12.50 ", 12.5),
        ("string", "1e2", 100.0),
        (nullable("double"), 1.0, 1.0),
        (DECIMAL, (3050).to_bytes(2, "big"), 30.5),
        (DECIMAL, b"\x00", 0.0),
        (DECIMAL, b"", 0.0),
        (
            {"type": "fixed", "name": "D", "size": 4, "logicalType": "decimal", "precision": 9},
            b"\x00\x00\x00\x2a",
            42.0,
        ),
        (DECIMAL, b"\x01" * 64, int.from_bytes(b"\x01" * 64) / 100),
        ({"type": "bytes", "logicalType": "decimal", "scale": 300}, b"\x01", 1e-300),
        (["string", "long"], 7, 7),
        (["string", "long"], "7", 7.0),
        (["string", "double"], 7.5, 7.5),
        (["string", DECIMAL], (3050).to_bytes(2, "big"), 30.5),
    ],
)
def test_a_value_may_be_of_any_type_that_holds_numbers(kind: object, given: object, made: float) -> None:
    assert sent(apply(of_value(kind), lead(value=given)))["data"]["value"] == made


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("long", -1),
        ("string", "12,50"),
        ("string", "$12"),
        ("string", "nan"),
        ("string", "inf"),
        ("string", "1e999"),
        ("string", "0x10"),
        ("string", "-1"),
        (["string", "boolean"], True),
        (["string", {"type": "long", "logicalType": "timestamp-millis"}], 30),
        (["string", {"type": "bytes", "logicalType": "decimal", "scale": 301}], b"\x01"),
        (DECIMAL, (-1).to_bytes(1, "big", signed=True)),
        (DECIMAL, b"\x01" * 65),
        ("bytes", b"12"),
        ({"type": "bytes", "logicalType": "decimal", "scale": 10**9}, b"\x01"),
        ({"type": "bytes", "logicalType": "decimal", "scale": -1}, b"\x01"),
        ({"type": "bytes", "logicalType": "decimal", "scale": True}, b"\x01"),
        ({"type": "long", "logicalType": "timestamp-millis"}, 1),
        ("boolean", True),
    ],
)
def test_a_value_that_is_none_is_refused(kind: object, given: object) -> None:
    made = apply(of_value(kind), lead(value=given))
    assert isinstance(made, Rejection)
    assert made.code is Code.INVALID_FIELD


def test_a_value_of_no_characters_is_absent() -> None:
    assert apply(of_value("string"), lead(value=" ")) == Rejection(
        Code.MISSING_FIELD, 'data.value: is absent (from "value")', "main"
    )


def test_an_amount_of_many_digits_keeps_what_json_keeps() -> None:
    amount = 123_456_789_012_345_678_901_234_567_890_123_456_789_012
    given = amount.to_bytes(20, "big")
    assert sent(apply(of_value(DECIMAL), lead(value=given)))["data"]["value"] == amount / 100


def test_a_constant_of_any_size_is_sent_or_refused() -> None:
    assert sent(apply(of_value("double", 10**20), lead()))["data"]["value"] == 1e20
    made = apply(of_value("double", 10**400), lead())
    assert isinstance(made, Rejection)


@pytest.mark.parametrize(("field", "target"), [("currency", "data.currency"), ("value", "data.value")])
def test_a_lead_without_currency_or_value_is_dead_lettered(field: str, target: str) -> None:
    raw = record(**{f["name"]: nullable(f["type"]) if f["name"] == field else f["type"] for f in LEAD["fields"]})
    made = apply(compile_source(rules(), raw), lead(**{field: None}))
    assert made == Rejection(Code.MISSING_FIELD, f'{target}: is absent (from "{field}")', "main")
    without = record(**{f["name"]: f["type"] for f in LEAD["fields"] if f["name"] != field})
    assert apply(compile_source(rules(), without), lead()) == made


# client_ip_address


@pytest.mark.parametrize(
    "address", ["172.59.8.172", "8.8.8.8", "255.255.255.255", "2001:db8::1", "2A02:8071::ABCD", "1::"]
)
def test_an_address_is_sent_as_given_but_trimmed(address: str) -> None:
    assert lead_sent(client_ip_address=f"\t{address} ")["user_data"]["client_ip_address"] == address


@pytest.mark.parametrize(
    "address",
    ["localhost", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4:", "[::1", "1.2.3.4%eth0", "1::2::3",
     "::g", "1.2.3.4/32", "unknown", "١.2.3.4", ":"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    assert lead_rejected(client_ip_address=address).code is Code.INVALID_FIELD


SUSPECT = [
    ("10.1.2.3", "private"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.168.1.1", "private"),
    ("127.0.0.1", "loopback"),
    ("127.9.9.9", "loopback"),
    ("0.0.0.0", "unspecified"),  # noqa: S104 -- no socket is bound
    ("169.254.1.1", "link_local"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("fd12::1", "private"),
    ("fe80::1", "link_local"),
    ("::ffff:10.0.0.1", "private"),
    ("::ffff:127.0.0.1", "loopback"),
    ("0:0:0:0:0:0:0:1", "loopback"),
]


@pytest.mark.parametrize(("address", "reason"), SUSPECT)
def test_an_address_of_nobody_on_the_internet_is_delivered_and_counted(address: str, reason: str) -> None:
    transform = compile_source(rules(), LEAD)
    assert sent(apply(transform, lead(client_ip_address=address)))["user_data"]["client_ip_address"] == address
    assert transform.counts.suspect == {("generate_lead", "client_ip_address", reason): 1}


@pytest.mark.parametrize(("address", "reason"), SUSPECT)
def test_or_refused_where_the_settings_say_so(address: str, reason: str) -> None:
    transform = compile_source(rules(delivery={"private_ip": "refuse"}), LEAD)
    made = apply(transform, lead(client_ip_address=address))
    assert isinstance(made, Rejection)
    assert (made.code, made.detail) == (
        Code.INVALID_FIELD,
        'user_data.client_ip_address: is not a public address (from "client_ip_address")',
    )


@pytest.mark.parametrize(
    "address", ["172.15.0.1", "172.32.0.1", "192.0.2.1", "100.64.0.1", "11.0.0.1", "2001:db8::1", "1.0.0.1"]
)
def test_other_addresses_are_not_suspect(address: str) -> None:
    for delivery in ({}, {"private_ip": "refuse"}):
        transform = compile_source(rules(delivery=delivery), LEAD)
        sent(apply(transform, lead(client_ip_address=address)))
        assert not transform.counts.suspect


# client_user_agent, esi


def test_a_user_agent_is_any_text_trimmed() -> None:
    assert lead_sent(client_user_agent=" Mozilla/5.0 (…) \n")["user_data"]["client_user_agent"] == "Mozilla/5.0 (…)"


@pytest.mark.parametrize(("given", "made"), [("web", "web"), ("app", "app"), (" Web ", "web"), ("APP", "app")])
def test_an_event_comes_from_web_or_app(given: str, made: str) -> None:
    assert lead_sent(esi=given)["user_data"]["esi"] == made


@pytest.mark.parametrize("esi", ["server", "website", "w", "web app"])
def test_an_event_from_elsewhere_is_refused(esi: str) -> None:
    assert lead_rejected(esi=esi).code is Code.INVALID_FIELD


@pytest.mark.parametrize("field", ["event_source_url", "client_ip_address", "client_user_agent", "esi", "currency"])
@pytest.mark.parametrize("nothing", ["", "   ", "\t\n"])
def test_empty_is_absent_for_what_is_required(field: str, nothing: str) -> None:
    rejection = lead_rejected(None, **{field: nothing})
    assert rejection.code is Code.MISSING_FIELD
    assert rejection.detail.endswith(f'is absent (from "{field}")')


@pytest.mark.parametrize("field", ["event_source_url", "client_ip_address", "client_user_agent", "esi", "currency"])
def test_null_is_absent_and_another_type_is_invalid(field: str) -> None:
    kinds = {f["name"]: f["type"] for f in LEAD["fields"]} | {field: ["null", "string", "boolean"]}
    transform = compile_source(rules(), record(**kinds))
    missing = apply(transform, lead(**{field: None}))
    assert isinstance(missing, Rejection)
    assert missing.code is Code.MISSING_FIELD
    invalid = apply(transform, lead(**{field: True}))
    assert isinstance(invalid, Rejection)
    assert invalid.code is Code.INVALID_FIELD


def test_a_currency_of_another_type_has_no_default() -> None:
    kinds = {f["name"]: f["type"] for f in LEAD["fields"]} | {"currency": ["null", "string", "boolean"]}
    transform = compile_source(rules(default_currency="EUR"), record(**kinds))
    made = mapped(transform, [lead(currency=None), lead(currency=True), lead(currency="usd")])
    assert isinstance(made[1], Rejection)
    assert made[1].code is Code.INVALID_FIELD
    assert [sent(made[at])["data"]["currency"] for at in (0, 2)] == ["EUR", "USD"]


def test_the_detail_names_every_path_that_was_looked_at() -> None:
    source: dict[str, Any] = {"fields": {"user_data.esi": ["sid", "ifa"]}}
    assert lead_rejected(source).detail == 'user_data.esi: is absent (from "sid" or "ifa")'
