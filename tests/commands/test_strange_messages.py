"""Messages that no Python client would write, through the pipeline and every command that shows them."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stream_capi.operations.dead_letters import dead_letter_of
from tests.commands.running import run_command, run_for_json
from tests.fake_record import FakeRecord
from tests.faults.crafted_records import Maker
from tests.ledger import FoundDeadLetter
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.raw_producer import Raw, produce_raw
from tests.stack.waiting import until

NOT_UTF8 = b"\x63\x61\x66\xe9"
OWN = [b"capi-error-code", b"capi-source-partition", b"capi-by-reference", b"capi-headers-lost", b"capi-version"]
HEADERS: dict[str, list[tuple[bytes, bytes | None]]] = {
    "not UTF-8": [(b"before", b"1"), (NOT_UTF8, b"x"), (b"after", b"2")],
    "escapes": [(b"\x1b[31mjane@example.com", b"\x1b[2J"), (b"\x00", b""), (b"", None)],
    "own names": [(name, value) for name in OWN for value in (b"\xff", None, b"-1")],
    "twice": [(b"one", b"1"), (b"one", b"2"), (b"one", None)],
    "many": [(b"h", b"")] * 99_999,
    "none": [],
}


@pytest.mark.repeat(
    of="tests/commands/test_dead_letters.py::test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places"
)
@pytest.mark.real
def test_strange_headers_are_delivered_dead_lettered_shown_replayed_and_redriven(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        maker = Maker(scene)
        good = {case: maker.lead() for case in HEADERS}
        records = [Raw(good[case].value, case.encode(), headers) for case, headers in HEADERS.items()]
        records += [Raw(b"spoilt", case.encode(), headers) for case, headers in HEADERS.items()]
        produce_raw(broker.bootstrap, scene.leads, *records, Raw(b"no key"), Raw(b"empty key", b""), Raw(None, b"\xff"))
        member = scene.member(dead_letter={"max_ratio": 1.0})
        until(
            lambda: broker.committed(scene.group, scene.leads).get(0, (0, ""))[0] == len(records) + 3,
            60,
            "all outcomes",
        )
        assert member.terminate() == 0
        scene.notes += [f"{one.key!r} {one.code} {one.headers}"[:400] for one in scene.ledger.dead_letters()]
        ids = Counter(record.event_id for record in good.values())
        assert scene.endpoint.answered() == ids
        dead_letters = {dead_letter.key: dead_letter for dead_letter in scene.ledger.dead_letters()}
        assert set(dead_letters) == {*(case.encode() for case in HEADERS), None, b""}
        assert {dead_letter.code for dead_letter in dead_letters.values()} == {"decode_error"}
        lost = {key: _lost(dead_letter) for key, dead_letter in dead_letters.items() if _lost(dead_letter)}
        assert lost == {b"not UTF-8": b"1", b"many": b"9"}
        kept = dead_letters[b"not UTF-8"].headers
        assert (kept["before"], kept["after"]) == (b"1", b"2")
        assert dead_letters[b"own names"].headers["capi-source-partition"] == b"0"
        assert dead_letters[b"twice"].headers["one"] is None
        _look(scene, len(records))
        assert run_for_json(scene, "dead-letters", "redrive", "--execute", code=0)["dead_lettered"] == {
            "decode_error": 8
        }
        again = scene.ledger.dead_letters()[8:]
        assert {dead_letter.key: _lost(dead_letter) for dead_letter in again if _lost(dead_letter)} == {
            b"not UTF-8": b"1",
            b"many": b"9",
        }
        assert all(dead_letter.headers["capi-source-topic"] == scene.leads.encode() for dead_letter in again)
        run_command(
            scene, "replay", "--topic", scene.leads, "--from", "earliest", "--execute", dead_letter={"max_ratio": 1.0}
        )
        assert scene.endpoint.answered() == ids + ids
        assert "Traceback" not in member.output
        scene.assert_private()


def _lost(dead_letter: FoundDeadLetter) -> bytes | None:
    return dead_letter.headers.get("capi-headers-lost")


def _look(scene: Scene, count: int) -> None:
    """Run every command that shows a record; ``run_command`` searches the output for addresses and tracebacks."""
    for offset in range(count):
        kind, code = ("sent", 0) if offset < len(HEADERS) else ("dead_letter", 1)
        at = ("--topic", scene.leads, "--partition", "0", "--offset", str(offset))
        (shown,) = run_for_json(scene, "explain", *at, code=code)
        assert shown["outcome"]["kind"] == kind
    run_command(scene, "explain", "--topic", scene.leads, "--latest", "100", code=1)
    run_command(scene, "dead-letters", "list")
    shown_dead_letters: list[dict[str, Any]] = run_for_json(scene, "dead-letters", "show", "--limit", "100")
    assert [one["headers_lost"] for one in shown_dead_letters].count(None) == 6
    assert len(json.dumps(shown_dead_letters)) < 100_000, "99,999 headers are counted, not listed"
    text = run_command(scene, "dead-letters", "show", "--limit", "100").stdout
    assert "\x1b" not in text
    assert len(text) < 200_000


def forged(**changes: bytes) -> Raw:
    """A dead letter with headers that this program wouldn't write."""
    headers = {
        "capi-error-code": b"too_old",
        "capi-error-detail": b"\x1b[2Jcall jane@example.com or +1 650 555 1212\x9b",
        "capi-source-topic": b"leads",
        "capi-source-partition": b"0",
        "capi-source-offset": b"0",
        "capi-source-timestamp": b"1700000000000",
        "capi-attempts": b"1",
        "capi-version": b"\x1b]0;jane@example.com",
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    return Raw(b"value", b"key", [(name.encode(), value) for name, value in headers.items()])


FORGED = [
    *({"capi_source_partition": value} for value in (b"-1", b"2147483648", b"1e3", b"\xff", b"9" * 5000)),
    *({"capi_source_offset": value} for value in (b"-1", b"9223372036854775807", b"9" * 4000, b"")),
    *({"capi_source_timestamp": value} for value in (b"9" * 4000, b"9223372036854775808", "٣".encode(), b" 1")),
    *({"capi_attempts": value} for value in (b"-1", b"9" * 4000, b"\xff")),
    *({"capi_source_topic": value} for value in (b"", b"jane@example.com", b"\x1b[31m", b"a" * 250, b"a:b", b"..")),
    *({"capi_error_code": value} for value in (b"jane@example.com", b"\xff")),
    *({"capi_headers_lost": value} for value in (b"jane@example.com", b"-1", b"\xff")),
]
ODD_BUT_WHOLE = [
    {},
    {"capi_source_timestamp": b"9223372036854775807"},
    {"capi_source_timestamp": b"-9223372036854775808"},
    {"capi_source_topic": b"somebody-else"},
    {"capi_source_topic": b"16505551212"},
    {"capi_source_partition": b"2147483647", "capi_by_reference": b"true"},
    {"capi_source_offset": b"9223372036854775806", "capi_by_reference": b"true"},
    {"capi_headers_lost": b"all"},
]


def record_of(raw: Raw) -> Any:
    return FakeRecord(raw.value, [(name.decode(), value) for name, value in raw.headers], key=raw.key)


@pytest.mark.parametrize("changes", FORGED, ids=lambda changes: str(changes)[:60])
def test_headers_that_no_dead_letter_can_have_are_no_dead_letter(changes: dict[str, bytes]) -> None:
    assert dead_letter_of(record_of(forged(**changes))) is None
    assert dead_letter_of(record_of(forged())) is not None


@pytest.mark.repeat(
    of="tests/commands/test_dead_letters.py::test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places"
)
@pytest.mark.real
def test_forged_dead_letters_end_no_command_and_are_printed_masked(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        ours = {"capi_source_topic": scene.leads.encode()}
        whole = [forged(**(ours | changes)) for changes in ODD_BUT_WHOLE]
        produce_raw(broker.bootstrap, scene.dead, *(forged(**changes) for changes in FORGED), *whole)
        listed = run_for_json(scene, "dead-letters", "list")
        assert (listed["letters"], listed["foreign"]) == (len(whole), len(FORGED))
        shown = run_for_json(scene, "dead-letters", "show", "--limit", "100")
        assert len(shown) == len(whole)
        texts = [
            run_command(scene, "dead-letters", *words).stdout
            for words in (["list"], ["show", "--limit", "9"], ["redrive"])
        ]
        for text in [*texts, json.dumps(shown, ensure_ascii=False)]:
            assert "\x1b" not in text
            assert "\x9b" not in text
            assert "650 555" not in text
            assert "16505551212" not in text
        done = run_for_json(scene, "dead-letters", "redrive", "--execute")
        assert done == {
            "letters": 6,
            "delivered": 0,
            "dead_lettered": {"decode_error": 4},
            "skipped": {"gone": 2},
            "left": 0,
            "holds": True,
        }


@pytest.mark.repeat(
    of="tests/commands/test_dead_letters.py::test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places"
)
@pytest.mark.real
def test_dead_letters_by_reference_are_read_beside_the_consumer_and_each_is_delivered_once(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    """When each was fetched by new clients on the consumer's thread, the member didn't poll for too long."""
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        maker = Maker(scene)
        made = [maker.lead(partition=number % 2) for number in range(150)]
        produced = maker.put(made)
        maker.put([maker.lead(partition=0)])  # behind them, a record that no dead letter refers to
        dead_letters = [
            forged(
                capi_source_topic=scene.leads.encode(),
                capi_source_partition=b"%d" % event.partition,
                capi_source_offset=b"%d" % event.offset,
                capi_source_timestamp=b"-1",
                capi_by_reference=b"true",
            )._replace(value=b"")
            for event in produced
        ]
        produce_raw(broker.bootstrap, scene.dead, *dead_letters)
        begun = time.monotonic()
        kafka = {"properties": {"max.poll.interval.ms": 12_000, "session.timeout.ms": 6000}}
        done = run_for_json(scene, "dead-letters", "redrive", "--execute", kafka=kafka)
        assert (done["delivered"], done["left"], done["holds"]) == (150, 0, True)
        assert scene.endpoint.answered() == Counter(record.event_id for record in made)
        assert time.monotonic() - begun < 30
        assert run_for_json(scene, "dead-letters", "redrive")["letters"] == 0


@pytest.mark.repeat(
    of="tests/commands/test_dead_letters.py::test_mended_dead_letters_are_delivered_and_hopeless_ones_come_back_with_their_own_places"
)
@pytest.mark.real
def test_dead_letters_of_thousands_of_forged_topics_are_listed_within_seconds(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        topics = [scene.leads.encode(), *(b"forged-%d" % number for number in range(3_000))]
        produce_raw(broker.bootstrap, scene.dead, *(forged(capi_source_topic=topic) for topic in topics))
        begun = time.monotonic()
        listed = run_for_json(scene, "dead-letters", "list")
        assert time.monotonic() - begun < 20
        assert listed["letters"] == len(topics)
        assert len(listed["kinds"]) == 1 + 100 + 1
        assert listed["kinds"][-1] | {"first": "", "last": ""} == {
            "topic": "other",
            "code": "any",
            "letters": 2_900,
            "redriven": 0,
            "by_reference": 0,
            "first": "",
            "last": "",
            "rules": [{"code": "too_old", "field": "", "source": "", "count": 2_900}],
        }
        assert "2,900" in run_command(scene, "dead-letters", "list").stdout
        planned = run_for_json(scene, "dead-letters", "redrive")
        assert planned["letters"] == 1
        assert len(planned["without_source"]) == 101
