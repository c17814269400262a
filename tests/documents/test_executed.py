"""The pages of the commands and the README's quick start, typed literally, with a real broker and the sample topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.program import ROOT
from tests.documents.console import steps
from tests.documents.play import compare, parts
from tests.documents.stage import DEAD, GROUP, KEY, LEADS, VIEWS, Stage, sampled
from tests.endpoint_thread import Endpoint
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real

README, COMMANDS = ROOT / "README.md", ROOT / "docs/commands.md"
TOOLS = sorted((ROOT / "docs/tools").glob("*.md"))
# Commands on these pages that are not typed, and why.
NOT_RUN = {
    "pip install .            # in a checkout": "it would install into the environment that the tests run in",
    "stream-capi demo         # no broker, no container, no account": "tests/integration/test_demo.py runs it",
    "stream-capi replay --config stream-capi.toml --topic leads --from 2026-11-25T05:43:07Z --rate 100 --execute": (
        "it is interrupted half way, which nothing that it prints tells; tests/commands/test_replay.py does it"
    ),
}


@pytest.fixture
def stage(broker: Broker, registry: Registry, tmp_path: Path) -> Iterator[tuple[Stage, Endpoint]]:
    with sampled(broker, registry, tmp_path) as ready:
        yield ready


@pytest.fixture(scope="module")
def consumed(
    broker: Broker, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stage, Endpoint]]:
    """A stage whose samples a member has consumed to the end, shared by the pages of the tools."""
    with sampled(broker, registry, tmp_path_factory.mktemp("consumed")) as (stage, endpoint):
        with stage.player(endpoint.address, AXON_API_KEY=KEY) as player:
            player.play("<!-- console member\n$ stream-capi run --config stream-capi.toml\n-->\n")
            until(lambda: done(stage), 60, "all samples with an outcome")
            player.play("<!-- console member\n^C\n-->\n")
        yield stage, endpoint


def done(stage: Stage) -> bool:
    """Whether the group has committed all samples."""
    return all(
        {at: offset for at, (offset, _) in stage.broker.committed(GROUP, topic).items()}
        == stage.broker.end_offsets(topic)
        for topic in (LEADS, VIEWS)
    )


def play(page: Path, stage: Stage, endpoint: Endpoint) -> None:
    text = page.read_text()
    with stage.player(endpoint.address, frozenset(NOT_RUN), AXON_API_KEY=KEY) as player:
        differing = player.play(text)
    compare(page, differing)


@pytest.mark.repeat(of="test_the_quick_start_of_the_readme_delivers_the_leads")
def test_the_commands_print_what_their_page_shows(stage: tuple[Stage, Endpoint]) -> None:
    play(COMMANDS, *stage)


@pytest.mark.repeat(of="test_the_quick_start_of_the_readme_delivers_the_leads")
@pytest.mark.parametrize("page", TOOLS, ids=lambda page: page.stem)
def test_a_tool_prints_what_its_page_shows(page: Path, consumed: tuple[Stage, Endpoint]) -> None:
    ready, endpoint = consumed
    ready.write_configuration(endpoint.address)
    play(page, ready, endpoint)


def test_the_quick_start_of_the_readme_delivers_the_leads(stage: tuple[Stage, Endpoint]) -> None:
    ready, endpoint = stage
    text = README.read_text()
    dead_letters = ready.broker.end_offsets(DEAD)
    with ready.player(endpoint.address, frozenset(NOT_RUN), AXON_API_KEY=KEY) as player:
        differing = player.play(text)
        leads = sum(ready.broker.end_offsets(LEADS).values())
        until(
            lambda: (
                sum(endpoint.answered().values()) + sum(ready.broker.end_offsets(DEAD).values())
                == leads + sum(dead_letters.values())
            ),
            60,
            "every lead delivered or dead-lettered",
        )
    compare(README, differing)


def test_what_is_not_run_is_on_the_pages() -> None:
    typed = {
        step.command
        for page in (README, COMMANDS, *TOOLS)
        for part in parts(page.read_text())
        if part.kind == "console"
        for step in steps(part.text)
    }
    assert [command for command in NOT_RUN if command not in typed] == []
