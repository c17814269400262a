"""The ``--help`` of a command names its options and subcommands."""

from __future__ import annotations

import pytest

from tests.integration.test_commands import assert_plain, command

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["replay"], ["--from", "--to", "--partition", "--rate", "--execute", "--afresh", "--json"]),
        (["reset"], ["--to", "--topic", "--partition", "--execute", "--json"]),
        (["dead-letters"], ["list", "show", "redrive"]),
        (["dead-letters", "list"], ["--code", "--topic", "--since", "--limit", "--json"]),
        (["dead-letters", "show"], ["--code", "--topic", "--since", "--limit", "--partition", "--offset", "--json"]),
        (["dead-letters", "redrive"], ["--code", "--topic", "--since", "--limit", "--rate", "--execute", "--json"]),
        (["test"], ["--schema", "--update", "--junit", "--show-personal-data", "--json"]),
        (["status"], ["--member", "--watch", "--json"]),
    ],
    ids=" ".join,
)
def test_every_option_is_told(words: list[str], options: list[str]) -> None:
    done = command(*words, "--help")
    assert_plain(done, 0)
    assert "Usage" in done.stdout
    for option in options:
        assert option in done.stdout
