"""User data: identifiers, hashed or unchanged, and fields that are left out (contract, section 5)."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from stream_capi.events.fields import IDENTIFIER_FIELDS
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
    record,
    rules,
    sent,
    user_sent,
)

EMAIL_HASH = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"
PHONE_HASH = "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"


def digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def dropped(**fields: Any) -> dict[tuple[str, str], int]:
    """The fields counted as left out of one Lead, which must be sent all the same."""
    transform = compile_source(rules(), LEAD)
    sent(apply(transform, lead(**fields)))
    return dict(transform.counts.dropped)


# email


@pytest.mark.parametrize("email", ["john_smith@gmail.com", "  John_Smith@Gmail.COM\n", "JOHN_SMITH@GMAIL.COM"])
def test_an_email_is_trimmed_lower_cased_and_hashed(email: str) -> None:
    assert user_sent("email", email) == EMAIL_HASH


def test_an_email_beyond_ascii_is_hashed_as_utf_8() -> None:
    assert user_sent("email", "Jörg@Bücher.example") == digest("jörg@bücher.example")


@pytest.mark.parametrize("given", [EMAIL_HASH, EMAIL_HASH.upper(), f" {EMAIL_HASH}\t"])
def test_an_email_that_is_a_hash_already_is_not_hashed_again(given: str) -> None:
    assert user_sent("email", given) == EMAIL_HASH


@pytest.mark.parametrize("email", ["john_smith", EMAIL_HASH[:-1], EMAIL_HASH + "0", "g" * 64])
def test_an_email_without_an_at_is_left_out_and_counted(email: str) -> None:
    assert user_sent("email", email) is None
    assert dropped(email=email) == {("email", "no_at"): 1}


# phone


@pytest.mark.parametrize(
    "phone",
    ["16505551212", "+16505551212", "+1 (650) 555-1212", "1.650.555.1212", "0016505551212", "+0016505551212", " 1-650 555 1212 ",
     "tel:+1-650-555-1212"],
)  # fmt: skip
def test_a_phone_is_hashed_as_its_digits(phone: str) -> None:
    assert user_sent("phone", phone) == PHONE_HASH


@pytest.mark.parametrize("given", [PHONE_HASH, PHONE_HASH.upper(), f" {PHONE_HASH} "])
def test_whether_a_phone_is_a_hash_is_asked_before_its_letters_are_taken_away(given: str) -> None:
    assert user_sent("phone", given) == PHONE_HASH


def test_a_hash_of_digits_alone_is_a_hash() -> None:
    assert user_sent("phone", "1" * 64) == "1" * 64


@pytest.mark.parametrize(
    ("phone", "digits"),
    [
        ("1234567", "1234567"),
        ("123456789012345", "123456789012345"),
        ("000123456789", "0123456789"),
        ("0000123456789", "123456789"),
    ],
)
def test_a_phone_has_7_to_15_digits(phone: str, digits: str) -> None:
    assert user_sent("phone", phone) == digest(digits)


@pytest.mark.parametrize(
    ("phone", "reason"),
    [
        ("123456", "digits"),
        ("1234567890123456", "digits"),
        ("00123456", "digits"),
        ("+", "digits"),
        ("٠١٢٣٤٥٦٧٨", "digits"),
        ("none", "placeholder"),
        (PHONE_HASH[:-1], "letters"),
        ("g" * 64, "letters"),
    ],
)
def test_another_phone_is_left_out_and_counted(phone: str, reason: str) -> None:
    assert user_sent("phone", phone) is None
    assert dropped(phone=phone) == {("phone", reason): 1}


def test_passthrough_leaves_the_hashing_to_the_api() -> None:
    passed: dict[str, Any] = {"delivery": {"hash": "passthrough"}}
    assert user_sent("email", " John_Smith@gmail.com", passed) == "john_smith@gmail.com"
    assert user_sent("phone", "+1 (650) 555-1212", passed) == "16505551212"
    assert user_sent("email", EMAIL_HASH.upper(), passed) == EMAIL_HASH
    assert user_sent("phone", PHONE_HASH.upper(), passed) == PHONE_HASH
    assert user_sent("email", "nobody", passed) is None
    assert user_sent("phone", "123", passed) is None
    assert user_sent("phone", "g" * 64, passed) is None


# country, postcode, operating system


@pytest.mark.parametrize(("given", "made"), [("US", "US"), ("de", "DE"), (" gb\n", "GB"), ("tr", "TR")])
def test_a_country_is_an_iso_code_in_upper_case(given: str, made: str) -> None:
    assert user_sent("country_code", given) == made


@pytest.mark.parametrize("country", ["USA", "UK", "Germany", "XX", "U"])
def test_an_unknown_country_is_left_out_and_counted(country: str) -> None:
    assert user_sent("country_code", country) is None
    assert dropped(country_code=country) == {("country_code", "unknown"): 1}


@pytest.mark.parametrize(
    ("zip_code", "country", "made"),
    [
        (" 94025 ", "US", "94025"),
        ("94025-1234", "us", "94025"),
        ("940251234", "US", "94025"),
        ("9402", "US", "09402"),
        ("SW1A 1AA", "GB", "SW1A 1AA"),
        ("94025-1234", None, "94025-1234"),
        ("94025-1234", "ZZ", "94025-1234"),
        ("010-0001", "JP", "010-0001"),
    ],
)
def test_a_postcode_is_trimmed_and_in_the_united_states_five_digits(
    zip_code: str, country: str | None, made: str
) -> None:
    assert user_sent("zip", zip_code, country_code=country) == made


@pytest.mark.parametrize("zip_code", ["n/a", "٩٤٠٢٥", "CA 94025"])
def test_a_postcode_that_is_no_zip_in_the_united_states_is_left_out_and_counted(zip_code: str) -> None:
    assert user_sent("zip", zip_code, country_code="US") is None
    assert dropped(zip=zip_code, country_code="US") == {("zip", "digits"): 1}


@pytest.mark.parametrize(
    ("system", "made"),
    [
        ("ios", "ios"), ("iOS", "ios"), ("iPhone OS", "ios"), ("iPadOS", "ios"), ("iOS 17.4.1", "ios"), ("iphone", "ios"),
        ("android", "android"), ("Android", "android"), ("Android 14", "android"), (" ANDROID\t", "android"),
        ("desktop_os", "desktop_os"), ("Windows", "desktop_os"), ("Windows 11", "desktop_os"), ("macOS", "desktop_os"),
        ("Mac OS X", "desktop_os"), ("Mac OS X 10_15_7", "desktop_os"), ("Linux", "desktop_os"), ("Linux x86_64", "desktop_os"),
        ("Ubuntu 24.04", "desktop_os"), ("Chrome OS", "desktop_os"), ("Windows NT 10.0", "desktop_os"), ("Win32", "desktop_os"),
        ("Windows 11 Pro", "desktop_os"), ("OS X 10.4", "desktop_os"), ("Windows version 10", "desktop_os"),
    ],
)  # fmt: skip
def test_common_spellings_of_an_operating_system_are_known(system: str, made: str) -> None:
    assert user_sent("os", system) == made


@pytest.mark.parametrize("system", ["BeOS", "17", "tvos", "unknown", "."])
def test_an_unknown_operating_system_is_left_out_and_counted(system: str) -> None:
    assert user_sent("os", system) is None
    assert dropped(os=system) == {("os", "unknown"): 1}


# the others


@pytest.mark.parametrize("field", ["aleid", "axwrt", "alart", "client_id", "user_id", "sid", "ifa", "idfv"])
def test_other_fields_are_trimmed_text(field: str) -> None:
    assert user_sent(field, "  A b-C_9é ") == "A b-C_9é"


@pytest.mark.parametrize(
    "field",
    ["aleid", "axwrt", "alart", "client_id", "email", "phone", "country_code", "zip", "os", "sid", "ifa", "idfv"],
)
@pytest.mark.parametrize("nothing", [None, "", " \t"])
def test_empty_is_absent_and_not_counted(field: str, nothing: str | None) -> None:
    event = lead_sent(None, **{field: nothing}, user_id="u")
    assert field not in event["user_data"]
    assert dropped(**{field: nothing}) == {}


def of_field(field: str, kind: Any) -> Transform:
    raw = record(**{f["name"]: f["type"] for f in LEAD["fields"]} | {field: kind})
    return compile_source(rules(), raw)


@pytest.mark.parametrize(
    ("kind", "given", "made"),
    [
        ("long", 42, "42"),
        ("int", -7, "-7"),
        ("double", 42.0, "42"),
        (nullable("long"), 0, "0"),
        ({"type": "enum", "name": "E", "symbols": ["one"]}, "one", "one"),
        ({"type": "string", "logicalType": "uuid"}, "0188-x", "0188-x"),
        ({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, UUID(int=7).bytes, str(UUID(int=7))),
        (
            {"type": "bytes", "logicalType": "decimal", "precision": 40},
            (10**39 + 1).to_bytes(17, "big"),
            str(10**39 + 1),
        ),
        ("double", float(2**53 - 1), str(2**53 - 1)),
        ("double", -42.0, "-42"),
        (["null", "string", "long"], 9, "9"),
        (["null", "string", "long"], "x", "x"),
    ],
)
def test_an_id_may_be_of_any_type_that_reads_as_text(kind: Any, given: Any, made: str) -> None:
    assert sent(apply(of_field("user_id", kind), lead(user_id=given)))["user_data"]["user_id"] == made


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("boolean", True),
        ("bytes", b"\xff"),
        ("double", 1.5),
        ("double", float(2**53)),
        ("double", float(-(2**53))),
        (["string", {"type": "long", "logicalType": "timestamp-millis"}], 5),
        (["string", {"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, "bytes"], b"abc"),
        ({"type": "fixed", "name": "U", "size": 16}, UUID(int=7).bytes),
        ({"type": "bytes", "logicalType": "decimal", "scale": 2}, b"\x01" * 65),
        ("double", float("nan")),
        ("double", 1e300),
        ({"type": "long", "logicalType": "timestamp-millis"}, 5),
        ({"type": "fixed", "name": "U", "size": 8, "logicalType": "uuid"}, b"12345678"),
        ({"type": "array", "items": "string"}, ["a"]),
        ({"type": "map", "values": "string"}, {"a": "b"}),
        (["null", "string", "boolean"], False),
    ],
)
def test_a_value_of_another_type_is_left_out_and_counted(kind: Any, given: Any) -> None:
    transform = of_field("sid", kind)
    assert "sid" not in sent(apply(transform, lead(sid=given)))["user_data"]
    assert transform.counts.dropped == {("sid", "type"): 1}


# identifiers


@pytest.mark.parametrize("field", IDENTIFIER_FIELDS)
def test_any_one_identifier_is_enough_and_is_counted(field: str) -> None:
    value = {"email": "a@b.example", "phone": "16505551212"}.get(field, "x")
    transform = compile_source(rules(), LEAD)
    assert field in sent(apply(transform, lead(user_id=None) | {field: value}))["user_data"]
    (counted,) = transform.counts.lanes.values()
    assert counted == {"": 1, field: 1}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"email": "nobody", "phone": "12"},
        {"sid": "s", "ifa": "i", "idfv": "v", "zip": "94025", "country_code": "US", "os": "ios"},
        {"user_id": " ", "client_id": "", "aleid": "\t"},
        {"event_source_url": "https://a.b/aleid=1#?aleid=2"},
        {"event_source_url": "https://a.b/&aleid=1"},
        {"event_source_url": "https://a.b/&aleid=1?aleid=2"},
        {"event_source_url": "https://a.b/#?aleid=2"},
        {"event_source_url": "https://a.b/?aleid=&alart=%20&xaleid=1&axwrt=1&email=a@b"},
    ],
)
def test_without_any_identifier_an_event_is_dead_lettered(fields: dict[str, Any]) -> None:
    assert lead_rejected(None, **({"user_id": None} | fields)) == Rejection(
        Code.NO_IDENTIFIER, "none of aleid, axwrt, alart, client_id, user_id, email, phone is there", "main"
    )


@pytest.mark.parametrize("field", ["aleid", "alart"])
@pytest.mark.parametrize(
    ("query", "made"),
    [
        ("?{}=AbC-1", "AbC-1"),
        ("?x=1&{}=2#top", "2"),
        ("?{}=a%2Fb+c", "a/b c"),
        ("?{}=a%2Fb", "a/b"),
        ("?{}=a+b+", "a b"),
        ("?{}=a%22b", 'a"b'),
        ("?{0}=1?{0}=2", "1?{0}=2"),
        ("?x=1?{}=2", "2"),
        ("?{0}=1&{0}=2", "1"),
        ("?x{0}=1&{0}=2", "2"),
    ],
)
def test_what_an_ad_brought_along_is_taken_from_the_url(field: str, query: str, made: str) -> None:
    url = "https://shop.example/x" + query.format(field)
    event = lead_sent(user_id=None, event_source_url=url)
    assert event["user_data"][field] == made.format(field)
    assert event["event_source_url"] == url


@pytest.mark.parametrize("field", ["aleid", "alart"])
def test_but_a_mapped_one_goes_before(field: str) -> None:
    url = f"https://shop.example/x?{field}=of-the-url"
    assert user_sent(field, "mapped", event_source_url=url) == "mapped"
    assert user_sent(field, " ", event_source_url=url) == "of-the-url"
    without = record(**{f["name"]: f["type"] for f in LEAD["fields"] if f["name"] != field})
    made = sent(apply(compile_source(rules(), without), lead(event_source_url=url)))
    assert made["user_data"][field] == "of-the-url"


# dedupe_id


def test_the_mapped_dedupe_id_goes_before_the_event_id_and_that_before_the_place() -> None:
    assert lead_sent(dedupe_id=" d ", event_id="e")["dedupe_id"] == "d"
    assert lead_sent(dedupe_id=None, event_id=" e ")["dedupe_id"] == "e"
    assert lead_sent(dedupe_id=" ", event_id="e")["dedupe_id"] == "e"
    assert lead_sent(dedupe_id=None, event_id="")["dedupe_id"] == digest("leads-3-7")


def test_a_mapped_source_of_the_dedupe_id_is_used() -> None:
    assert lead_sent({"fields": {"dedupe_id": "sid"}}, sid="s-1")["dedupe_id"] == "s-1"
    assert lead_sent({"fields": {"event_id": "sid"}}, sid="s-1")["dedupe_id"] == "s-1"


def test_a_derived_id_is_the_same_each_time_and_another_for_each_place() -> None:
    transform = compile_source(rules(), LEAD)
    row = lead(event_id="", dedupe_id=None)
    again = compile_source(rules(), LEAD)
    assert sent(apply(transform, row))["dedupe_id"] == sent(apply(again, row, now_ms=1_741_784_999_000))["dedupe_id"]
    made = [*mapped(transform, [row, row], "leads", 3, [7, 8]),
            *mapped(transform, [row], "leads", 37, [8]),
            *mapped(transform, [row], "leads-3", 3, [7])]  # fmt: skip
    assert len({sent(one)["dedupe_id"] for one in made}) == 4


def test_an_id_of_another_type_is_counted_and_the_next_one_taken() -> None:
    raw = record(
        **{f["name"]: f["type"] for f in LEAD["fields"]} | {"dedupe_id": ["null", "boolean"], "event_id": "long"}
    )
    transform = compile_source(rules(), raw)
    assert sent(apply(transform, lead(dedupe_id=True, event_id=5)))["dedupe_id"] == "5"
    assert transform.counts.dropped == {("dedupe_id", "type"): 1}


# counts of fields left out


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({"client_ip_address": "x", "email": "nobody"}, {}),
        ({"user_id": None, "email": "nobody", "zip": "--", "country_code": "US"}, {("email", "no_at"): 1}),
        ({"dedupe_id": "d", "event_id": "x" * 8_193}, {}),
        ({"dedupe_id": "", "event_id": "x" * 8_193}, {("event_id", "too_long"): 1}),
        ({"dedupe_id": "x" * 8_193}, {("dedupe_id", "too_long"): 1}),
    ],
)
def test_what_is_left_out_is_counted_up_to_the_fault_that_ends_the_event(
    fields: dict[str, Any], counted: dict[tuple[str, str], int]
) -> None:
    transform = compile_source(rules(), LEAD)
    apply(transform, lead(**fields))
    assert transform.counts.dropped == counted


def test_an_id_that_nobody_asks_for_is_not_counted_whatever_it_is() -> None:
    transform = compile_source(rules(), LEAD)
    made = mapped(transform, [lead(dedupe_id="d", event_id="x" * 8_193), lead(dedupe_id=None, event_id="e")])
    assert [sent(one)["dedupe_id"] for one in made] == ["d", "e"]
    assert not transform.counts.dropped


def test_of_an_event_that_is_not_sent_no_identifier_is_counted() -> None:
    transform = compile_source(rules(), LEAD)
    good, bad = lead(email="a@b.example"), lead(email="a@b.example", esi="server", sid="s")
    mapped(transform, [good, bad, good, lead(event_time=None)])
    (counted,) = transform.counts.lanes.values()
    assert counted == {"": 2, "user_id": 2, "email": 2}


class Sink:
    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def mapped(self, *told: Any) -> None:
        self.told.append(("mapped", *told))

    def identifiers(self, *told: Any) -> None:
        self.told.append(("identifiers", *told))

    def dropped(self, *told: Any) -> None:
        self.told.append(("dropped", *told))

    def suspect(self, *told: Any) -> None:
        self.told.append(("suspect", *told))


def test_counts_are_handed_over_once() -> None:
    transform = compile_source(rules(), LEAD)
    for _ in range(2):
        apply(transform, lead(email="a@b.example", phone="1", client_ip_address="10.0.0.1"))
    sink = Sink()
    transform.counts.drain_into(sink)
    assert sorted(sink.told) == [
        ("dropped", "phone", "digits", 2),
        ("identifiers", "main", "generate_lead", "email", 2),
        ("identifiers", "main", "generate_lead", "user_id", 2),
        ("mapped", "main", "generate_lead", 2),
        ("suspect", "generate_lead", "client_ip_address", "private", 2),
    ]
    sink.told.clear()
    transform.counts.drain_into(sink)
    assert sink.told == []


# several paths


@pytest.mark.parametrize(
    ("first", "second", "third", "made"),
    [("a", "b", "c", "a"), (None, "b", "c", "b"), ("", " ", "c", "c"), (None, None, "c", "c"), (None, "b", None, "b")],
)
def test_of_several_paths_the_first_that_is_neither_null_nor_empty_counts(
    first: str | None, second: str | None, third: str | None, made: str
) -> None:
    source: dict[str, Any] = {"fields": {"user_data.client_id": ["sid", "nowhere", "ifa", "idfv"]}}
    assert user_sent("client_id", None, source, sid=first, ifa=second, idfv=third) == made


def test_a_wrong_one_is_not_passed_over_for_the_next() -> None:
    raw = record(**{f["name"]: f["type"] for f in LEAD["fields"]} | {"sid": nullable("boolean")})
    source: dict[str, Any] = {"fields": {"user_data.client_id": ["sid", "ifa"]}}
    transform = compile_source(rules(**source), raw)
    assert "client_id" not in sent(apply(transform, lead(sid=True, ifa="x")))["user_data"]
    assert transform.counts.dropped[("client_id", "type")] == 1
    assert sent(apply(transform, lead(sid=None, ifa="x")))["user_data"]["client_id"] == "x"


def test_of_several_numbers_and_times_the_first_that_is_there_counts() -> None:
    raw = record(
        **{f["name"]: f["type"] for f in LEAD["fields"]}
        | {"sid": nullable("string"), "ifa": nullable("long"), "idfv": nullable("double")}
    )
    source: dict[str, Any] = {"fields": {"data.value": ["sid", "idfv"], "event_time": ["sid", "ifa"]}}
    event = sent(apply(compile_source(rules(**source), raw), lead(sid=" ", ifa=1_741_784_400_000, idfv=2.5)))
    assert event["data"]["value"] == 2.5
    assert event["event_time"] == 1_741_784_400_000


def test_a_constant_is_the_same_for_each_event() -> None:
    fields = {"user_data.esi": {"const": "app"}, "data.currency": {"const": "EUR"}, "data.value": {"const": 3}}
    event = lead_sent({"fields": fields}, esi="web", currency="USD", value=9.0)
    assert event["user_data"]["esi"] == "app"
    assert event["data"] == {"currency": "EUR", "value": 3}


# suspect values


@pytest.mark.parametrize(
    ("user_id", "short"),
    [
        ("1", 1),
        ("12345", 1),
        ("123456", 0),
        (" 12345 ", 1),
        ("ünter", 1),
        ("günter", 0),
        (None, 0),
        ("  ", 0),
        ("n/a", 0),
    ],
)
def test_a_user_id_of_fewer_than_six_characters_is_sent_and_counted(user_id: str | None, short: int) -> None:
    transform = compile_source(rules(), LEAD)
    made = apply(transform, lead(user_id=user_id, email="a@b.example"))
    if short and user_id:
        assert sent(made)["user_data"]["user_id"] == user_id.strip()
    assert transform.counts.suspect == ({("generate_lead", "user_id", "short"): 1} if short else {})


def test_of_an_event_that_is_not_sent_no_value_is_suspect() -> None:
    """So a field never has more suspect values than there are events with it."""
    transform = compile_source(rules(), LEAD)
    nobody = lead(user_id=None, client_ip_address="10.0.0.1")
    bad = lead(user_id="1", client_ip_address="10.0.0.1", esi="server")
    mapped(transform, [lead(user_id="1"), nobody, bad, lead(client_ip_address="10.0.0.1")])
    assert transform.counts.suspect == {
        ("generate_lead", "user_id", "short"): 1,
        ("generate_lead", "client_ip_address", "private"): 1,
    }
