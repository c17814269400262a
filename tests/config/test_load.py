"""Loading the settings: defaults, the forms of the file, and all faults reported together."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from stream_capi.config import FieldRule, Settings, load
from stream_capi.errors import ConfigurationError
from stream_capi.pipeline.delivery_rules import delivery_rules
from tests.config.json_schema import refused

ENVIRON = {"AXON_API_KEY": "key-1"}
PIXEL = '[[pixels]]\nname = "main"\npixel_id = "pixel-1"\napi_key_env = "AXON_API_KEY"\n'
SOURCE = '[[sources]]\ntopic = "leads"\nevent = "generate_lead"\npixel = "main"\n'
LEAST = f"[schema_registry]\n{PIXEL}{SOURCE}"

Read = Callable[..., Settings]
Faults = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(text: str, environ: Mapping[str, str] = ENVIRON, **options: bool) -> Settings:
        file = tmp_path / "stream-capi.toml"
        file.write_text(text, "utf-8")
        settings = load(file, environ, **options)
        if not any(name.startswith("STREAM_CAPI_") for name in environ):
            assert refused(tomllib.loads(text.removeprefix("\ufeff"))) == [], "the JSON Schema takes what is loaded"
        return settings

    return read


@pytest.fixture
def faults(read: Read, tmp_path: Path) -> Faults:
    def faults(text: str, environ: Mapping[str, str] = ENVIRON) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            read(text, environ)
        return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]

    return faults


def test_defaults_are_those_of_the_contract(read: Read) -> None:
    settings = read(LEAST).model_dump(exclude={"pixels", "sources"})
    assert settings == {
        "kafka": {
            "bootstrap_servers": "localhost:9092",
            "group_id": "stream-capi",
            "start": "earliest",
            "commit_interval_ms": 500,
            "properties": {},
            "sasl_password_file": None,
        },
        "schema_registry": {"url": "http://localhost:8081", "properties": {}},
        "endpoint": {
            "url": "https://b.applovin.com/v1/event",
            "authorization": "auto",
            "timeout_seconds": 10,
            "proxy": "",
            "ca_file": "",
        },
        "batch": {"max_events": 100, "max_bytes": 1_048_576, "window_ms": 1000},
        "delivery": {
            "max_in_flight": 16,
            "max_requests_per_second": 0,
            "max_refusals": 0,
            "private_ip": "deliver",
            "hash": "local",
            "max_age_seconds": 0,
            "max_future_seconds": 600,
            "backoff_initial_ms": 500,
            "backoff_max_ms": 60_000,
            "max_split_requests": 64,
            "probe_seconds": 30,
            "max_buffered_bytes": 67_108_864,
        },
        "dead_letter": {"topic": "stream-capi.dead-letters", "max_ratio": 0.5},
        "suppress": {"file": None},
        "shutdown": {"drain_seconds": 25},
        "admin": {"host": "127.0.0.1", "port": 9464, "hosts": ()},
        "log": {"level": "info", "format": "auto"},
    }


def test_defaults_of_pixels_and_sources(read: Read) -> None:
    settings = read(LEAST)
    assert settings.pixels[0].profile == "lead_gen"
    source = settings.sources[0]
    assert (source.framing, source.window_ms, source.fields, source.where) == ("confluent", None, {}, ())
    assert (source.consent_field, source.consent_purposes, source.without_consent) == (None, (), "skip")


def test_a_source_may_have_a_ratio_of_its_own(read: Read) -> None:
    settings = read(LEAST + "max_ratio = 1.0\n")
    assert (settings.sources[0].max_ratio, settings.dead_letter.max_ratio) == (1.0, 0.5)
    assert read(LEAST).sources[0].max_ratio is None
    for wrong, words in (("max_ratio = 1.5", "sources[0].max_ratio"), ("max_ration = 1.0", "max_ratio")):
        with pytest.raises(ConfigurationError) as raised:
            read(LEAST + wrong + "\n")
        assert words in str(raised.value)


def test_the_least_ratio_of_the_sources_that_feed_a_lane_is_the_lanes(read: Read) -> None:
    second = '[[sources]]\ntopic = "other"\nevent = "{event}"\npixel = "main"\nmax_ratio = {ratio}\n'
    settings = read(LEAST + "max_ratio = 1.0\n" + second.format(event="page_view", ratio=0.25))
    assert {lane.event.value: ratio for lane, ratio in delivery_rules(settings).lane_ratios.items()} == {
        "generate_lead": 1.0,
        "page_view": 0.25,
    }
    shared = delivery_rules(read(LEAST + "max_ratio = 1.0\n" + second.format(event="generate_lead", ratio=0.75)))
    assert list(shared.lane_ratios.values()) == [0.75]


def test_without_a_registry_there_is_none(read: Read, tmp_path: Path) -> None:
    assert read(PIXEL + SOURCE + f'schema_folder = "{tmp_path}"\n').schema_registry is None


def test_settings_do_not_change(read: Read) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read(LEAST).kafka.group_id = "other"  # type: ignore[misc]


def test_the_forms_of_a_field(read: Read) -> None:
    fields = """[sources.fields]
"user_data.email" = "customer.contact.email"
user_data.user_id = ["account.id", "visitor_id"]
"data.currency" = { const = "USD" }
data.value = { path = ["amount", "price"] }
event_time = { path = "sent_at", unit = "s" }
user_data.esi = { path = "channel", map = { WEB = "web", IOS_APP = "app" }, default = "web" }
user_data.os = { path = ["os", "family"], map = { "OS X" = "desktop_os" } }
user_data.country_code = ["country", { const = "US" }]
user_data.sid = { path = ["sid", { const = "none" }] }
user_data.zip = { path = "zip", default = "94025" }
"""
    assert read(LEAST + fields).sources[0].fields == {
        "user_data.email": FieldRule(paths=("customer.contact.email",)),
        "user_data.user_id": FieldRule(paths=("account.id", "visitor_id")),
        "data.currency": FieldRule(const="USD", has_const=True),
        "data.value": FieldRule(paths=("amount", "price")),
        "event_time": FieldRule(paths=("sent_at",), unit="s"),
        "user_data.esi": FieldRule(
            paths=("channel",), map={"WEB": "web", "IOS_APP": "app"}, const="web", has_const=True
        ),
        "user_data.os": FieldRule(paths=("os", "family"), map={"OS X": "desktop_os"}),
        "user_data.country_code": FieldRule(paths=("country",), const="US", has_const=True),
        "user_data.sid": FieldRule(paths=("sid",), const="none", has_const=True),
        "user_data.zip": FieldRule(paths=("zip",), const="94025", has_const=True),
    }


def test_routing_filter_consent_and_values(read: Read) -> None:
    source = """[[sources]]
topic = "events"
event_field = "type"
events = { LeadCreated = "generate_lead", View = "page_view", Ping = "skip" }
pixel_field = "agency.pixel"
framing = "auto"
where = [{ field = "env", equals = "live" }, { field = "site", in = ["a", "b"] }, { field = "lead", present = true }]
consent_field = "consent"
consent_purposes = ["ads", "measure"]
without_consent = "strip"
values = { field = "quality", table = { high = 50, duplicate = 0 }, default = 10 }
default_currency = "EUR"
"""
    read_source = read(f"[schema_registry]\n{PIXEL}{source}").sources[0]
    assert read_source.events == {"LeadCreated": "generate_lead", "View": "page_view", "Ping": "skip"}
    assert [(w.field, w.equals, w.one_of, w.present) for w in read_source.where] == [
        ("env", "live", None, None),
        ("site", None, ("a", "b"), None),
        ("lead", None, None, True),
    ]
    assert read_source.consent_purposes == ("ads", "measure")
    assert read_source.values is not None
    assert read_source.values.table == {"high": 50, "duplicate": 0}
    assert read_source.values.default == 10


def test_files_are_meant_from_the_configuration(read: Read, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key-2\n")
    (tmp_path / "lead.avsc").write_text("{}")
    settings = read(
        PIXEL.replace('api_key_env = "AXON_API_KEY"', 'api_key_file = "key"')
        + SOURCE
        + 'framing = "raw"\nschema_file = "lead.avsc"\n'
    )
    assert settings.pixels[0].api_key_file == str(tmp_path / "key")
    assert settings.sources[0].schema_file == str(tmp_path / "lead.avsc")


def test_every_fault_of_a_very_wrong_file_at_once(faults: Faults) -> None:
    text = """[kafka]
bootstrap_server = "x:1"
start = "newest"
properties = { "enable.auto.commit" = true, "fetch.min.bytes" = [1] }
[endpoint]
url = "http://b.applovin.com/v1/event"
timeout_seconds = 0
authorization = "canary-pasted-key"
[[pixels]]
name = "main"
api_key = "canary-inline-key"
[[pixels]]
name = "ma in"
pixel_id = "2"
api_key_env = "NOT_THERE"
[[sources]]
topic = "leads"
pixel = "mian"
framing = "avro"
event = "generate_lead"
[sources.fields]
"user_data.emial" = "email"
"data.value" = { paths = "amount" }
[[sources]]
topic = "leads"
event = "page_view"
pixel = "ma in"
framing = "raw"
fields = { "data.currency" = "currency" }
[batch]
max_events = 101
window = 5
[dead_letters]
topic = "x"
"""
    f = "stream-capi.toml: "
    assert sorted(faults(text)) == sorted(
        [
            f + 'kafka.bootstrap_server: unknown key; did you mean "bootstrap_servers"?',
            f + 'kafka.start: "newest" is not one of earliest, latest, error',
            f + 'kafka.properties."enable.auto.commit": is the program\'s own: an offset is committed only when its'
            " event has a terminal outcome",
            f + 'kafka.properties."fetch.min.bytes": must be text, a number or true or false',
            f
            + "endpoint.url: is plain http to another host: the key and the events would be sent unencrypted; use https",
            f + "endpoint.timeout_seconds: must be above 0",
            f + "endpoint.authorization: must be one of auto, bearer, raw",
            f + "pixels[0].api_key: a key doesn't belong in a file of settings; use api_key_env or api_key_file",
            f + "pixels[0]: must have exactly one of pixel_id, pixel_id_env and pixel_id_file; it has none",
            f + "pixels[1].name: must be 1 to 64 letters, digits, dots, underscores and hyphens",
            f + "pixels[1].api_key_env: names a variable that the environment lacks or leaves empty; set it",
            f + 'sources[0].framing: "avro" is not one of confluent, apicurio, single_object, raw, auto',
            f + 'sources[0].fields."user_data.emial": is not a field of an event; did you mean "user_data.email"?',
            f + 'sources[0].fields."data.value": must be "path", ["first", "second", { const = … }], '
            '{ path = "…", unit = "s" }, { path = "…", map = { … }, default = … } or { const = … }',
            f + 'sources[0].pixel: "mian" is not the name of one of the pixels; did you mean "main"?',
            f
            + 'sources[1].topic: "leads" is already the topic of sources[0]; several sources of one topic must each name '
            "their record",
            f + "sources[1].schema_file: is missing: a raw record doesn't say which schema wrote it",
            f + 'sources[1].fields."data.currency": has no effect: a page view has no data',
            f + "batch.max_events: must be at most 100",
            f + 'batch.window: unknown key; did you mean "window_ms"?',
            f + 'dead_letters: unknown key; did you mean "dead_letter"?',
        ]
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "",
            [
                "pixels: is missing: write at least one [[pixels]]",
                "sources: is missing: write at least one [[sources]]",
            ],
        ),
        (
            'pixels = 3\nsources = "x"',
            [
                "pixels: must be a list of tables: write [[pixels]]",
                "sources: must be a list of tables: write [[sources]]",
            ],
        ),
        (
            "kafka = 3\npixels = [7]\nsources = [8]",
            ["kafka: must be a table", "pixels[0]: must be a table", "sources[0]: must be a table"],
        ),
        (
            LEAST.replace('name = "main"', 'nam = "main"'),
            ['pixels[0].nam: unknown key; did you mean "name"?', "pixels[0].name: is missing"],
        ),
        (
            LEAST + "where = { field = 'a', equals = [1] }",
            ["sources[0].where[0].equals: must be text, a number or true or false"],
        ),
        (
            LEAST + "where = { field = 'a', equal = 1 }",
            ['sources[0].where[0].equal: unknown key; did you mean "equals"?'],
        ),
        (LEAST + "where = { field = 'a' }", ["sources[0].where[0]: must have exactly one of equals, in and present"]),
        (
            LEAST + "values = { field = 'q', table = { a = -1, b = nan } }",
            ["sources[0].values.table.a: must be at least 0", "sources[0].values.table.b: must be a finite number"],
        ),
        (
            LEAST + "[batch]\nmax_events = true\nmax_bytes = '9999'\n[shutdown]\ndrain_seconds = inf",
            [
                "batch.max_events: must be a whole number",
                "batch.max_bytes: must be a whole number",
                "shutdown.drain_seconds: must be a finite number",
            ],
        ),
        (LEAST + "[batch]\nmax_in_flight = 3", ["batch.max_in_flight: unknown key; it belongs in [delivery]"]),
        (
            LEAST.replace("leads", "^leads.*"),
            ["sources[0].topic: is not the name of a topic: 1 to 249 letters, digits, dots, underscores and hyphens"],
        ),
        (LEAST + "pixel_field = 3", ["sources[0].pixel_field: must be text"]),
        (
            LEAST + "consent_field = 'a..b'",
            ["sources[0].consent_field: is not a path; write names with single dots between them"],
        ),
    ],
)
def test_single_values(faults: Faults, text: str, wanted: list[str]) -> None:
    """Each wrong value is reported once, without faults that only follow from another one."""
    assert sorted(fault.removeprefix("stream-capi.toml: ") for fault in faults(text)) == sorted(wanted)


def test_a_toml_fault_is_one_line_with_its_place(faults: Faults) -> None:
    (fault,) = faults('[kafka]\ngroup_id = "a"\nstart =\n')
    assert fault.startswith("stream-capi.toml: is not TOML: ")
    assert "line 3" in fault


@pytest.mark.parametrize("text", ["a = " + "[" * 3000, "a = " + "9" * 5000])
def test_toml_beyond_measure_is_one_line(faults: Faults, text: str) -> None:
    assert faults(text) == ["stream-capi.toml: can't be parsed as TOML"]


@pytest.mark.parametrize("section", ["sources.fields", "kafka.properties", "schema_registry.properties"])
def test_a_key_of_thousands_of_dots_is_one_line(faults: Faults, section: str) -> None:
    (fault,) = faults(f"{LEAST}[{section}]\n{'.'.join('a' * 3000)} = 1\n")
    assert fault.startswith(f"stream-capi.toml: {section}".replace("sources.", "sources[0]."))


def test_a_budget_beyond_floats_is_refused(faults: Faults) -> None:
    assert faults(f"{LEAST}[delivery]\nmax_buffered_bytes = 1{'0' * 400}\n") == [
        "stream-capi.toml: delivery.max_buffered_bytes: must be at most 1.75922e+13"
    ]


def test_a_file_that_can_not_be_read_is_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    below = binary / "below.toml"
    for path, why in [
        (tmp_path / "none.toml", "there is no such file; name the configuration with --config"),
        (tmp_path, "is a folder, not a file"),
        (binary, "is not UTF-8 text"),
        (below, "can't be read: Not a directory"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            load(path, {})
        assert caught.value.faults == (f"{path}: {why}",)


def test_a_byte_order_mark_is_passed_over(read: Read) -> None:
    assert read("\ufeff" + LEAST).pixels[0].name == "main"


def test_nothing_secret_in_a_repr(read: Read) -> None:
    settings = read(
        LEAST
        + '[kafka.properties]\n"sasl.password" = "canary-1"\n'
        + '[endpoint]\nproxy = "http://user:canary-2@proxy:3128"\n',
    )
    assert "canary" not in repr(settings)
    assert settings.kafka.properties["sasl.password"] == "canary-1"


@pytest.mark.parametrize("name", ["capi.example.com", "capi", "a_b.c-d.example", "capi.example.com."])
def test_names_of_the_admin_server(read: Read, name: str) -> None:
    assert read(LEAST + f'[admin]\nhosts = ["{name}"]\n').admin.hosts == (name,)
    assert read(LEAST, {**ENVIRON, "STREAM_CAPI_ADMIN__HOSTS": f'["{name}"]'}).admin.hosts == (name,)


@pytest.mark.parametrize(
    "name", ["", "*", "*.example.com", "a:80", "http://a", "a/b", "a..b", ".", "ä.example", "x" * 64]
)
def test_what_is_no_name_of_a_host(faults: Faults, name: str) -> None:
    (fault,) = faults(LEAST + f'[admin]\nhosts = ["{name}"]\n')
    assert "admin.hosts[0]: is not the name of a host, without scheme, port or wildcard" in fault


@pytest.mark.slow
def test_thousands_of_faults_take_time_in_proportion(faults: Faults) -> None:
    wrong = "".join(f'[[sources]]\ntopic = "t{at}"\nevent = "lead"\npixel = "nope"\n' for at in range(3_000))
    started = time.process_time()
    found = faults(f"[schema_registry]\n{PIXEL}{wrong}")
    assert len(found) == 6_000
    assert (
        time.process_time() - started < 2.5
    )  # ten times the usual time; comparing each fault with each other took 25 s
