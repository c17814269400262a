"""Checks across several settings."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from stream_capi.config import load
from stream_capi.config.consistency import OWNED_PROPERTIES
from stream_capi.config.settings import Settings
from stream_capi.errors import ConfigurationError
from tests.config.test_load import LEAST, PIXEL, SOURCE, Faults, Read, faults, read

__all__ = ["faults", "read"]


EACH_ITS_RECORD = "several sources of one topic must each name their record"


def faults_of(faults: Faults, text: str) -> list[str]:
    return [fault.removeprefix("stream-capi.toml: ") for fault in faults(text)]


def test_each_property_of_the_programs_own_is_refused_with_its_reason(faults: Faults) -> None:
    lines = "".join(f'"{name}" = "x"\n' for name in OWNED_PROPERTIES)
    assert faults_of(faults, f"{LEAST}[kafka.properties]\n{lines}") == [
        f'kafka.properties.{name if name.isalnum() else f""""{name}""" + chr(34)}: is the program\'s own: {reason}'
        for name, reason in OWNED_PROPERTIES.items()
    ]


def test_the_owned_properties_are_these() -> None:
    assert {
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "bootstrap.servers",
        "group.id",
        "enable.partition.eof",
        "queued.max.messages.kbytes",
        "queued.min.messages",
        "allow.auto.create.topics",
        "transactional.id",
    } <= set(OWNED_PROPERTIES)


def test_callbacks_are_refused(faults: Faults) -> None:
    lines = '[kafka.properties]\n"stats_cb" = "x"\n"on_commit" = "x"\n'
    assert [fault.partition(":")[0] for fault in faults_of(faults, LEAST + lines)] == [
        "kafka.properties.stats_cb",
        "kafka.properties.on_commit",
    ]


def test_other_properties_pass(read: Read) -> None:
    lines = """[kafka.properties]
"isolation.level" = "read_uncommitted"
"session.timeout.ms" = 6000
"partition.assignment.strategy" = "roundrobin"
"group.instance.id" = "worker-1"
"enable.ssl.certificate.verification" = false
"""
    assert read(LEAST + lines).kafka.properties == {
        "isolation.level": "read_uncommitted",
        "session.timeout.ms": 6000,
        "partition.assignment.strategy": "roundrobin",
        "group.instance.id": "worker-1",
        "enable.ssl.certificate.verification": "false",
    }


@pytest.mark.parametrize("value", ["'abc'", "0", "-1", "'1.5'", "'" + "9" * 5000 + "'"], ids=lambda value: value[:6])
def test_a_size_that_the_program_reckons_with_is_a_number(faults: Faults, read: Read, value: str) -> None:
    text = f'{LEAST}[kafka.properties]\n"message.max.bytes" = {value}\n'
    assert faults_of(faults, text) == ['kafka.properties."message.max.bytes": must be a whole number of bytes']


@pytest.mark.parametrize("name", ["session.timeout.ms", "heartbeat.interval.ms"])
@pytest.mark.parametrize("value", ['"soon"', '"9 s"', "0", "-1", "true", "0.5"])
def test_a_session_is_a_number_of_milliseconds(faults: Faults, name: str, value: str) -> None:
    (fault,) = faults_of(faults, f'{LEAST}[kafka.properties]\n"{name}" = {value}\n')
    assert fault == f'kafka.properties."{name}": must be a whole number of milliseconds'


@pytest.mark.parametrize(
    ("session", "heartbeat", "passes"), [(6000, 5999, True), (6000, 6000, False), (2, '"3"', False)]
)
def test_a_heartbeat_comes_before_the_session_ends(
    faults: Faults, read: Read, session: int, heartbeat: object, passes: bool
) -> None:
    text = f'{LEAST}[kafka.properties]\n"session.timeout.ms" = {session}\n"heartbeat.interval.ms" = {heartbeat}\n'
    if passes:
        read(text)
    else:
        assert faults_of(faults, text) == [
            'kafka.properties."heartbeat.interval.ms": must be below session.timeout.ms, or each session ends before its heartbeat'
        ]


def test_several_workers_need_a_place_for_their_number_in_a_static_members_name(tmp_path: Path) -> None:
    file = tmp_path / "stream-capi.toml"
    fault = 'kafka.properties."group.instance.id": must hold "{worker}" with --workers 2: each worker needs a name of its own'

    def faults_for(name: str, workers: int, environ: Mapping[str, str] = MappingProxyType({})) -> list[str]:
        file.write_text(f'{LEAST}[kafka.properties]\n"group.instance.id" = "{name}"\n')
        try:
            load(file, {"CAPI_KEY": "k", **environ}, keys=False, workers=workers)
        except ConfigurationError as error:
            return list(error.faults)
        return []

    assert faults_for("pod-0", 2) == [f"{file}: {fault}"]
    assert faults_for("pod-0", 1) == faults_for("pod-0-{worker}", 2) == faults_for("pod-0-{worker}", 1) == []
    variable = "STREAM_CAPI_KAFKA__PROPERTIES__GROUP__INSTANCE__ID"
    assert faults_for("pod-0-{worker}", 2, {variable: "pod-0"}) == [f"{variable}: {fault}"]
    assert faults_for("pod-0", 2, {variable: "pod-0-{worker}"}) == []


@pytest.mark.parametrize("protocol", ["consumer", "CONSUMER"])
@pytest.mark.parametrize("name", ["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"])
def test_what_the_broker_decides_is_refused_with_its_protocol(faults: Faults, protocol: str, name: str) -> None:
    lines = f'[kafka.properties]\n"group.protocol" = "{protocol}"\n"{name}" = "1"\n'
    (fault,) = faults_of(faults, LEAST + lines)
    assert fault.startswith(f'kafka.properties."{name}": is refused with group.protocol')


@pytest.mark.parametrize(
    "url",
    [
        "https://b.applovin.com/v1/event",
        "http://localhost:8080/v1/event",
        "http://127.8.0.1/v1/event",
        "http://[::1]:8080/v1/event",
        "http://mock-endpoint:8080/v1/event",
        "http://mock.capi.svc.cluster.local/v1/event",
        "http://mock.capi.svc/v1/event",
        "http://mock.internal/v1/event",
    ],
)
def test_urls_of_the_endpoint(read: Read, url: str) -> None:
    assert read(f'{LEAST}[endpoint]\nurl = "{url}"\n').endpoint.url == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://b.applovin.com/v1/event", "plain http"),
        ("http://192.0.2.1/v1/event", "plain http"),
        ("http://10.1.2.3/v1/event", "plain http"),
        ("http://127.0.0.1.example.com/", "plain http"),
        ("ftp://localhost/", "absolute"),
        ("b.applovin.com/v1/event", "absolute"),
        ("https:///v1/event", "absolute"),
        ("https://a:99999/", "absolute"),
        ("https://[::1/", "absolute"),
        ("https://user:canary@b.applovin.com/", "no user"),
        ("https://b.applovin.com/v1/event?pixel_id=canary", "query"),
    ],
)
def test_urls_of_the_endpoint_that_are_refused(faults: Faults, url: str, why: str) -> None:
    (fault,) = faults_of(faults, f'{LEAST}[endpoint]\nurl = "{url}"\n')
    assert fault.startswith("endpoint.url: ")
    assert why in fault
    assert "canary" not in fault


def test_other_places_of_the_network(faults: Faults) -> None:
    text = LEAST.replace(
        "[schema_registry]", '[schema_registry]\nurl = "http://a:1,https://user:canary@b"\nproperties = { url = "x" }'
    )
    assert faults_of(faults, f'{text}[endpoint]\nproxy = "proxy:3128"\nca_file = "none.pem"\n') == [
        "endpoint.proxy: must be an absolute http or https URL",
        "endpoint.ca_file: names a file that is not there",
        'schema_registry.url: must hold no user or password; set properties."basic.auth.user.info"',
        "schema_registry.properties.url: set schema_registry.url",
    ]


@pytest.mark.parametrize(
    ("pixel", "wanted"),
    [
        ("", ["pixel_id, pixel_id_env and pixel_id_file; it has none", "api_key_env and api_key_file; it has none"]),
        (
            'pixel_id = "1"\npixel_id_env = "AXON_API_KEY"\napi_key_env = "AXON_API_KEY"\napi_key_file = "/dev/null"\n',
            [
                "pixel_id, pixel_id_env and pixel_id_file; it has pixel_id and pixel_id_env",
                "api_key_env and api_key_file; it has api_key_env and api_key_file",
            ],
        ),
    ],
)
def test_a_pixel_has_one_id_and_one_key(faults: Faults, pixel: str, wanted: list[str]) -> None:
    text = f'[schema_registry]\n[[pixels]]\nname = "main"\n{pixel}{SOURCE}'
    assert faults_of(faults, text) == [f"pixels[0]: must have exactly one of {choice}" for choice in wanted]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (LEAST + PIXEL, 'pixels[1].name: "main" is already used by pixels[0]'),
        (LEAST + SOURCE, f'sources[1].topic: "leads" is already the topic of sources[0]; {EACH_ITS_RECORD}'),
        (
            LEAST + 'pixel_field = "p"\n',
            "sources[0]: must have exactly one of pixel and pixel_field; it has pixel and pixel_field",
        ),
        (
            LEAST.replace('pixel = "main"', ""),
            "sources[0]: must have exactly one of pixel and pixel_field; it has none",
        ),
        (
            LEAST.replace('event = "generate_lead"', ""),
            "sources[0]: must have exactly one of event and event_field; it has none",
        ),
        (
            LEAST + 'event_field = "e"\nevents = { a = "skip" }\n',
            "sources[0]: must have exactly one of event and event_field; it has event and event_field",
        ),
        (
            LEAST.replace("event =", "event_field ="),
            "sources[0].events: is missing: a table from the field's values to generate_lead, page_view or skip",
        ),
        (LEAST + 'events = { a = "skip" }\n', "sources[0].events: has no effect without event_field"),
        (LEAST + 'without_consent = "strip"\n', "sources[0].without_consent: has no effect without consent_field"),
        (LEAST + 'consent_purposes = ["a"]\n', "sources[0].consent_purposes: has no effect without consent_field"),
        (
            LEAST.replace("leads", "stream-capi.dead-letters"),
            "sources[0].topic: is the dead-letter topic: each dead letter would be read again as an event",
        ),
        (
            PIXEL + SOURCE,
            'sources[0].framing: "confluent" needs [schema_registry], or a folder of schemas as schema_file',
        ),
        (
            PIXEL + SOURCE + 'framing = "auto"\n',
            'sources[0].framing: "auto" needs [schema_registry], or a folder of schemas as schema_file',
        ),
        (
            LEAST + 'framing = "raw"\n',
            "sources[0].schema_file: is missing: a raw record doesn't say which schema wrote it",
        ),
        (
            LEAST + 'framing = "raw"\nschema_file = "."\n',
            "sources[0].schema_file: is a folder; a raw source needs the one file with the schema of its records",
        ),
        (
            LEAST + 'framing = "single_object"\n',
            "sources[0].schema_file: is missing: the folder of .avsc files with the writers' schemas",
        ),
        (
            LEAST + 'framing = "single_object"\nschema_file = "stream-capi.toml"\n',
            "sources[0].schema_file: is a file; a single_object source needs the folder that the .avsc files are in",
        ),
        (
            PIXEL + SOURCE + 'schema_file = "stream-capi.toml"\n',
            "sources[0].schema_file: is a file, but an id can be looked up only in a registry or a folder; give [schema_registry] or a folder",
        ),
        (
            LEAST + 'schema_file = "stream-capi.toml"\nschema_folder = "."\n',
            "sources[0]: must have only one of schema_file and schema_folder; it has both",
        ),
        (
            LEAST + 'default_currency = "euro"\n',
            "sources[0].default_currency: must be a currency code of three letters",
        ),
        (
            LEAST.replace("generate_lead", "page_view") + 'default_currency = "EUR"\n',
            "sources[0].default_currency: has no effect: a page view has no value",
        ),
        (LEAST + 'phone_region = "UK"\n', "sources[0].phone_region: is not a country with phone numbers"),
        *(
            (
                LEAST + f"phone_region = {wrong}\n",
                'sources[0].phone_region: must be a country of two letters such as "US", or { path = "…" }',
            )
            for wrong in ('"USA"', "49", '{ const = "US" }', '{ path = "country", unit = "s" }', '["country"]', '"ÄÖ"')
        ),
        (LEAST + "values = { field = 'a', table = {} }\n", "sources[0].values.table: is empty"),
        (
            LEAST + "[delivery]\nbackoff_initial_ms = 90000\n",
            "delivery.backoff_initial_ms: is larger than delivery.backoff_max_ms",
        ),
        (
            LEAST + "[delivery]\nmax_buffered_bytes = 1048576\n",
            "delivery.max_buffered_bytes: must be at least twice batch.max_bytes, or no batch could fill",
        ),
    ],
)
def test_cross_checks(faults: Faults, text: str, wanted: str) -> None:
    assert faults_of(faults, text) == [wanted]


def test_paths_that_are_not_there(faults: Faults, tmp_path: Path) -> None:
    two = SOURCE.replace("leads", "others")
    text = f'{LEAST}schema_file = "a.avsc"\n{two}schema_folder = "stream-capi.toml"\n'
    assert faults_of(faults, text) == [
        "sources[0].schema_file: a.avsc is not there",
        "sources[1].schema_folder: stream-capi.toml is not a folder",
    ]


def test_a_folder_of_schemas_stands_in_for_the_registry(read: Read, tmp_path: Path) -> None:
    source = read(PIXEL + SOURCE + 'framing = "single_object"\nschema_folder = "."\n').sources[0]
    assert source.schema_file == source.schema_folder == str(tmp_path)


REGISTRY = '[schema_registry]\nurl = "http://r:8080/apis/ccompat/v7"\n'
OTHER_REGISTRY = '[schema_registry]\nurl = "http://r:8081"\n'


@pytest.mark.parametrize(
    ("before", "lines", "wanted"),
    [
        (REGISTRY, 'framing = "apicurio"', []),
        (REGISTRY, 'framing = "apicurio"\napicurio_id = "global"', []),
        (OTHER_REGISTRY, 'framing = "apicurio"\napicurio_id = "content"', []),
        ("", 'framing = "apicurio"', ['sources[0].framing: "apicurio" needs [schema_registry]']),
        (
            OTHER_REGISTRY,
            'framing = "apicurio"\napicurio_id = "global"',
            ["schema_registry.url: must be that of Apicurio's Confluent-compatible API (…/apis/ccompat/v7)"],
        ),
        (
            REGISTRY,
            'framing = "apicurio"\nschema_file = "."',
            ['sources[0].schema_file: has no effect with framing = "apicurio"'],
        ),
        (
            REGISTRY,
            'apicurio_id = "global"',
            ['sources[0].apicurio_id: has no effect without framing = "apicurio"'],
        ),
    ],
)
def test_apicurio_s_framing_needs_its_registry(
    faults: Faults, read: Read, before: str, lines: str, wanted: list[str]
) -> None:
    text = f"{before}{PIXEL}{SOURCE}{lines}\n"
    if not wanted:
        assert read(text).sources[0].wire_format.startswith("apicurio ")
        return
    (fault,) = faults_of(faults, text)
    assert fault.startswith(wanted[0])


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ('"email" = "a"', 'fields.email: is not a field of an event; did you mean "user_data.email"?'),
        ('"user_data.ip" = "a"', 'fields."user_data.ip": is not a field of an event'),
        ('"dedupe_id" = { path = "a", unit = "s" }', "fields.dedupe_id: has a unit, which only event_time takes"),
        ('"event_time" = { path = "a", unit = "h" }', "fields.event_time: has a unit that is not one of s, ms, us, ns"),
        ('"event_time" = "a..b"', "fields.event_time: is not a path"),
        ('"event_time" = []', "fields.event_time: must be"),
        ('"event_time" = 5', "fields.event_time: must be"),
        ('"user_data.sid" = { const = [1] }', 'fields."user_data.sid": must be text, a number or true or false'),
        ('"event_time" = { const = 1 }', "fields.event_time: can't be a constant"),
        ('"dedupe_id" = { const = "1" }', "fields.dedupe_id: can't be a constant"),
        ('"data.value" = { const = -1 }', 'fields."data.value": must be a number of 0 or more'),
        ('"data.currency" = { const = "$" }', 'fields."data.currency": must be a currency code of three letters'),
        ('"user_data.esi" = { const = "tv" }', 'fields."user_data.esi": must be web or app'),
        ('"user_data.esi" = ["a", { const = "tv" }]', 'fields."user_data.esi": must be web or app'),
        ('"user_data.esi" = { path = "a", default = "tv" }', 'fields."user_data.esi": must be web or app'),
        (
            '"user_data.esi" = { path = "a", map = { W = "tv" } }',
            'fields."user_data.esi".map.W: must be web or app',
        ),
        ('"user_data.esi" = { path = "a", map = {} }', 'fields."user_data.esi": has a map that is not a table'),
        ('"user_data.esi" = { path = "a", map = "web" }', 'fields."user_data.esi": has a map that is not a table'),
        (
            '"user_data.sid" = { path = "a", map = { b = [1] } }',
            'fields."user_data.sid": must be text, a number or true or false',
        ),
        (
            '"user_data.esi" = { path = ["a", { const = "web" }], default = "app" }',
            'fields."user_data.esi": has a default and a const',
        ),
        ('"user_data.esi" = [{ const = "web" }, "a"]', 'fields."user_data.esi": must be'),
        ('"user_data.esi" = [{ const = "web" }]', 'fields."user_data.esi": must be'),
        (
            '"event_time" = { path = "a", map = { b = 1 } }',
            "fields.event_time.map.b: must be a time in epoch milliseconds",
        ),
        ('"event_time" = { path = "a", map = { b = "now" } }', "fields.event_time.map.b: must be a time in epoch"),
        (
            '"event_time" = { path = "a", unit = "s", map = { b = 1741784485000 } }',
            "fields.event_time: has a unit beside a map, whose times are epoch milliseconds",
        ),
        (
            '"event_time" = { path = "a", map = { b = 1741784485000 }, default = 1741784485000 }',
            "fields.event_time: can't be a constant",
        ),
        ('"event_id" = { path = "a", map = { b = 1 } }', "fields.event_id.map.b: must be text"),
        ('"event_time" = ["a", { const = 1 }]', "fields.event_time: can't be a constant"),
        ('"dedupe_id" = { path = "a", default = "b" }', "fields.dedupe_id: can't be a constant"),
        ('"data.value" = { path = "a", map = { HIGH = -1 } }', 'fields."data.value".map.HIGH: must be a number of 0'),
    ],
)
def test_fields(faults: Faults, field: str, wanted: str) -> None:
    (fault,) = faults_of(faults, f"{LEAST}[sources.fields]\n{field}\n")
    assert fault.startswith(f"sources[0].{wanted}")


def test_a_wrong_value_hides_no_other_fault_of_its_table(faults: Faults) -> None:
    text = (
        '[schema_registry]\n[[pixels]]\nname = "main"\nprofile = "full"\n[[sources]]\ntopic = "leads"\nwindow_ms = 0\n'
    )
    assert faults_of(faults, text) == [
        'pixels[0].profile: "full" is not one of lead_gen, restricted',
        "sources[0].window_ms: must be at least 1",
        "pixels[0]: must have exactly one of pixel_id, pixel_id_env and pixel_id_file; it has none",
        "pixels[0]: must have exactly one of api_key_env and api_key_file; it has none",
        "sources[0]: must have exactly one of pixel and pixel_field; it has none",
        "sources[0]: must have exactly one of event and event_field; it has none",
    ]


RECORD = 'record = "acme.Lead"\n'


def test_several_sources_share_a_topic_if_each_names_its_record(read: Read) -> None:
    settings = read(LEAST + RECORD + SOURCE + 'record = "acme.View"\nwindow_ms = 50\n')
    assert [source.record for source in settings.sources] == ["acme.Lead", "acme.View"]
    assert settings.topics == ("leads",)
    assert settings.sources_of("leads") == settings.sources
    assert settings.sources_of("views") == ()
    (lead, _) = settings.sources
    assert [lead.is_for(name) for name in ("acme.Lead", "acme.View", "Lead")] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (RECORD + SOURCE, f'sources[1].topic: "leads" is already the topic of sources[0]; {EACH_ITS_RECORD}'),
        (SOURCE + RECORD, f'sources[1].topic: "leads" is already the topic of sources[0]; {EACH_ITS_RECORD}'),
        (RECORD + SOURCE + RECORD, 'sources[1].record: "acme.Lead" of this topic is already the record of sources[0]'),
        (
            RECORD + SOURCE + 'record = "acme.View"\nframing = "auto"\n',
            "sources[1].framing: must be the same as in sources[0], which has the same topic",
        ),
        ('record = ""\n', "sources[0].record: is empty"),
    ],
)
def test_a_record_of_a_shared_topic_belongs_to_one_source(faults: Faults, text: str, wanted: str) -> None:
    assert wanted in faults_of(faults, LEAST + text)


MAIN, OTHER = (f'[[pixels]]\nname = "{name}"\npixel_id = "p"\napi_key_env = "KEY"\n' for name in ("main", "other"))
FIXED = '[[sources]]\ntopic = "{0}"\nevent = "page_view"\npixel = "{1}"\nframing = "raw"\nschema_file = "x.avsc"\n'
ROUTED = '[[sources]]\ntopic = "routed"\nevent = "page_view"\npixel_field = "p"\n'
PAUSED = "paused = true\n"


@pytest.mark.parametrize(
    ("pixels", "braked", "whole", "why"),
    [
        (MAIN + OTHER, [], [], ""),
        (MAIN + PAUSED + OTHER, ["a", "routed"], ["a"], "pixel main is paused by configuration"),
        (
            MAIN + PAUSED + OTHER + PAUSED,
            ["a", "b", "routed"],
            ["a", "b", "routed"],
            "pixel main and pixel other are paused by configuration",
        ),
    ],
)
def test_a_paused_pixel_pauses_what_goes_to_it(pixels: str, braked: list[str], whole: list[str], why: str) -> None:
    settings = Settings.model_validate(
        tomllib.loads(pixels + FIXED.format("a", "main") + FIXED.format("b", "other") + ROUTED)
    )
    assert [topic for topic in settings.topics if settings.has_paused(topic)] == braked
    assert [source.topic for source in settings.sources if settings.is_paused(source)] == whole
    assert settings.why_paused("routed") == why
    assert settings.why_paused("elsewhere") == ""


def test_a_paused_source_of_a_shared_topic_is_named_by_its_record() -> None:
    one, other = (FIXED.format("a", "main") + f'record = "acme.{name}"\n' for name in ("Lead", "View"))
    settings = Settings.model_validate(tomllib.loads(MAIN + one + PAUSED + other))
    assert settings.has_paused("a")
    assert [settings.is_paused(source) for source in settings.sources] == [True, False]
    assert settings.why_paused("a") == "source a (acme.Lead) is paused by configuration"


@pytest.mark.parametrize("value", ['"true"', "1", '"yes"'])
def test_a_pause_is_true_or_false(faults: Faults, value: str) -> None:
    assert any(fault.startswith("sources[0].paused:") for fault in faults_of(faults, LEAST + f"paused = {value}\n"))
