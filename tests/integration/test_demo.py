"""The demo as it is run by who has nothing installed: embedded broker, generator, endpoint and pipeline in one process."""

from __future__ import annotations

import json

import pytest

from tests.integration.test_commands import assert_plain, command

pytestmark = pytest.mark.slow


def test_the_demo_accounts_for_every_event() -> None:
    done = command("demo", "--events", "1600", "--json", seconds=120)
    assert_plain(done, 0)
    ledger = json.loads(done.stdout)
    assert ledger["holds"] is True
    assert ledger["produced"] == 1600 == ledger["delivered"] + sum(ledger["dead_lettered"].values())
    assert ledger["uncommitted"] == 0
    assert set(ledger["dead_lettered"]) >= {"refused", "missing_field"}, "its bad day is bad enough"
    assert done.stderr == ""


def test_the_demo_prints_its_ledger_for_people() -> None:
    done = command("demo", "--events", "200", seconds=120)
    assert_plain(done, 0)
    assert "produced 200 = delivered" in done.stdout
    assert "@example.com" not in done.stdout
