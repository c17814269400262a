"""The ``--help`` of a command names its options and subcommands."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.deploy.program import options_by_command
from tests.integration.test_commands import assert_plain, command

pytestmark = pytest.mark.slow


def told() -> dict[str, set[str]]:
    """What the help of each command must name: its options, or its subcommands."""
    found = defaultdict[str, set[str]](set)
    for name, options in options_by_command().items():
        found[name] |= options
        group, _, inner = name.rpartition(" ")
        if group:
            found[group].add(inner)
    return found


@pytest.mark.cases(1)
@pytest.mark.parametrize(("name", "words"), told().items(), ids=told())
def test_every_option_is_told(name: str, words: set[str]) -> None:
    done = command(*name.split(), "--help")
    assert_plain(done, 0)
    assert "Usage" in done.stdout
    assert words <= set(done.stdout.split())
