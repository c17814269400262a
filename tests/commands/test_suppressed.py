"""``[suppress]`` in the whole program: a live member, a replay and a redrive skip the same people."""

from __future__ import annotations

import json
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stream_capi.sandbox.samples import Samples
from tests.commands.running import ids_of, only, run_command, run_for_json
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real

MANY = 400


def people(of_samples: int) -> tuple[list[str], set[str]]:
    """Suppression-list lines for some people in the samples of a seed, and the ids of all their events."""
    events = [event for _, event in Samples(of_samples, bad_share=0).stream(MANY, 0)]
    emails = {event["email"] for event in events[::9] if event["email"]}
    phones = {event["phone"] for event in events[1::9] if event["phone"]}
    users = {event["user_id"] for event in events[2::9] if event["user_id"]}
    assert min(map(len, (emails, phones, users))) > 5
    hashed = [*map(str.lower, emails), *("".join(filter(str.isdigit, phone)) for phone in phones)]
    lines = [sha256(text.strip().encode()).hexdigest() for text in hashed] + list(users)
    theirs = {
        event["event_id"]
        for event in events
        if event["email"] in emails or event["phone"] in phones or event["user_id"] in users
    }
    return lines, theirs


def suppressed(member: Any) -> int:
    return int(member.metric("stream_capi_skipped_total", reason="suppressed"))


@pytest.mark.repeat(of="test_the_dead_letters_of_who_is_forgotten_since_are_redriven_to_nobody")
def test_a_member_a_replay_and_a_redrive_skip_the_people_of_the_list(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    lines, theirs = people(1)
    file = tmp_path / "forgotten"
    file.write_text("\n".join(lines))
    with Scene(tmp_path, broker, registry, sections={"suppress": {"file": str(file)}}) as scene:
        scene.secrets += lines
        events = scene.produce(MANY)
        others = ids_of(events) - theirs
        member = scene.member()
        until(lambda: suppressed(member) == len(theirs), 60, "those who are forgotten being skipped")
        until(lambda: set(scene.endpoint.answered()) == others, 60, "the others being delivered")
        assert json.loads(member.get("/status")[1])["totals"]["skipped"] >= len(theirs)
        scene.ledger.freeze()
        replayed = run_for_json(scene, "replay", "--topic", scene.leads, "--from", "earliest", "--execute")
        of_leads = only(events, scene.leads)
        assert replayed["delivered"] == len(ids_of(of_leads) - theirs)
        assert replayed["holds"]
        assert "suppressed" in json.dumps(replayed)
        assert set(scene.endpoint.answered()) == others


def test_the_dead_letters_of_who_is_forgotten_since_are_redriven_to_nobody(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    lines, theirs = people(1)
    file = tmp_path / "forgotten"
    file.write_text("")
    with Scene(tmp_path, broker, registry, sections={"suppress": {"file": str(file)}}) as scene:
        scene.secrets += lines
        events = scene.produce(MANY)
        time.sleep(1.5)  # so that all of them are too old
        member = scene.member(delivery={"max_age_seconds": 1}, dead_letter={"max_ratio": 1.0})
        until(lambda: len(scene.ledger.dead_letters()) == MANY, 60, "all of them dead-lettered")
        member.terminate()
        scene.ledger.freeze()
        file.write_text("\n".join(lines))
        done = run_for_json(scene, "dead-letters", "redrive", "--execute")
        assert done["delivered"] == MANY - len(theirs)
        assert Counter(scene.endpoint.answered()) == Counter(dict.fromkeys(ids_of(events) - theirs, 1))
        assert run_for_json(scene, "dead-letters", "redrive")["letters"] == 0


@pytest.mark.repeat(of="test_the_dead_letters_of_who_is_forgotten_since_are_redriven_to_nobody")
def test_a_list_that_changes_is_honoured_without_a_restart(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    lines, theirs = people(2)
    file = tmp_path / "forgotten"
    file.write_text("somebody else")
    with Scene(tmp_path, broker, registry, sections={"suppress": {"file": str(file)}}) as scene:
        scene.secrets += lines
        first = scene.produce(50)
        member = scene.member()
        until(lambda: set(scene.endpoint.answered()) == ids_of(first), 60, "the first ones")
        file.write_text("\n".join(lines))
        until(lambda: member.output.count("suppression list read") == 2, 10, "the new list")
        second = scene.produce(MANY)
        until(lambda: suppressed(member) == len(theirs), 60, "those who are forgotten being skipped")
        wanted = ids_of(first) | (ids_of(second) - theirs)
        until(lambda: set(scene.endpoint.answered()) == wanted, 60, "the others being delivered")
        scene.assert_private()


@pytest.mark.repeat(of="test_the_dead_letters_of_who_is_forgotten_since_are_redriven_to_nobody")
def test_a_list_that_is_not_there_ends_every_command_before_its_work(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, sections={"suppress": {"file": str(tmp_path / "nothing")}}) as scene:
        for words in (
            ("run",),
            ("replay", "--topic", scene.leads, "--from", "earliest", "--execute"),
            ("dead-letters", "redrive", "--execute"),
        ):
            done = run_command(scene, *words, code=2)
            assert "suppress.file" in done.stderr
        assert "suppress.file" in run_command(scene, "check", code=1).stdout
        (tmp_path / "nothing").write_bytes(b"\xff\xfe\x00")
        assert "suppress.file" in run_command(scene, "run", code=2).stderr
        assert "suppress.file" in run_command(scene, "check", code=1).stdout
        (tmp_path / "nothing").write_text("u-1\n")
        scene.produce(4)
        assert "0 hashes, 1 user ids" in run_command(scene, "check").stdout
