"""A scene for tests with a real broker: topics with events, members of a group, the mock endpoint, and the ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from stream_capi.sandbox.samples import Samples
from tests.endpoint_thread import Answering, Endpoint
from tests.ledger import Ledger, assert_private
from tests.log_volume import loud_subjects
from tests.program import KEY, Program, configuration
from tests.stack import Kafka, Produced, Registry, produce_events
from tests.stack.names import Names

_MOST_SEEDS = 10  # of calls of ``produce`` whose personal data is searched for in every output: a soak has thousands


class Budget(NamedTuple):
    """How many events may be repeated, and why so many."""

    most: int
    why: str


class Scene:
    """Two topics, a dead-letter topic, an endpoint and a group. Everything started here ends with the context."""

    def __init__(
        self,
        folder: Path,
        broker: Kafka,
        registry: Registry,
        partitions: int = 4,
        answer: Answering | None = None,
        bootstrap: str | None = None,
        sections: Mapping[str, Mapping[str, Any]] | None = None,
        dead_letters: bool = True,
        registry_url: str | None = None,
        topics: Mapping[str, Any] | None = None,
        **endpoint: Any,
    ) -> None:
        """``topics`` are further arguments of ``create_topic`` for the topics of the sources."""
        self._begun = time.monotonic()
        names = Names()
        self.folder, self.broker, self.registry = folder, broker, registry
        self.leads = broker.create_topic(names.topic("leads"), partitions, **(topics or {}))
        self.views = broker.create_topic(names.topic("views"), partitions, **(topics or {}))
        self.dead = names.topic("dead")
        if dead_letters:
            broker.create_topic(self.dead)
        self.group = names.group()
        self.members: list[Program] = []
        self.secrets = [KEY]
        self._stack = ExitStack()
        self.endpoint = self._stack.enter_context(Endpoint(answer, **endpoint))
        self.settings = configuration(
            bootstrap or broker.bootstrap,
            registry_url or registry.url,
            self.endpoint.url,
            self.group,
            [{"topic": self.leads, "event": "generate_lead"}, {"topic": self.views, "event": "page_view"}],
            self.dead,
            **dict(sections or {}),
        )
        self.ledger = Ledger(broker, self.group, [self.leads, self.views], self.dead, self.endpoint.answered)
        self._stack.enter_context(self.ledger)
        self._seed = 0
        self.notes: list[str] = []  # shown with a failure
        self.figures: list[str] = []  # shown in the scorecard
        self.budget: Budget | None = None  # of repeated events, as the test has stated it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            for note in self.notes:
                error.add_note(note)
            for member in self.members:
                error.add_note(f"--- output of {member.name} ---\n{member.output[-6000:]}")
        seconds = time.monotonic() - self._begun
        loud = {member.name: loud_subjects(member.output, seconds) for member in self.members}
        self._stack.close()
        if error is None:
            assert not any(loud.values()), f"more than a line a second in {seconds:.0f} s: {loud}"

    def produce(self, count: int, bad: int = 0, **options: Any) -> list[Produced]:
        """Produce events of both names and add them to the ledger. Each call makes different events."""
        self._seed += 1
        produced = produce_events(self.broker, self.registry, self.leads, self.views, count, self._seed, bad, **options)
        self.ledger.add(produced)
        return produced

    def member(
        self,
        key: str = KEY,
        ready: bool = True,
        *,
        module: str = "stream_capi",
        env: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        python: Path | None = None,
        **sections: Mapping[str, Any],
    ) -> Program:
        """Start a member of the group, with further settings, variables or options if given.

        ``module`` is run instead of the program, ``python`` has another release of it.
        """
        settings = {**self.settings}
        for section, keys in sections.items():
            settings[section] = {**settings.get(section, {}), **keys}
        program = Program(self.folder, settings, key, f"member-{len(self.members) + 1}", module, env, python)
        self._stack.enter_context(program)
        self.members.append(program)
        return program.start(*options, ready=ready)

    def close(self, seconds: float = 60, duplicates: Budget | int | None = 0) -> None:
        """Assert at the end of a test that all events have outcomes, requests were valid, and outputs have no personal data.

        ``duplicates`` is the budget of repeated events. Only the soak passes None: its faults are random, and it counts
        repeated events itself.
        """
        self.ledger.close(seconds)
        self.endpoint.assert_valid()
        self.assert_private()
        if duplicates is not None:
            self.assert_repeated(duplicates)

    def repeated(self) -> int:
        """How many times the API accepted an event again, answered or not."""
        return sum(times - 1 for times in self.endpoint.mock.times_accepted().values())

    def assert_repeated(self, duplicates: Budget | int = 0) -> None:
        """Assert that no more events were repeated than stated."""
        self.budget = duplicates if isinstance(duplicates, Budget) else Budget(duplicates, "")
        times = self.endpoint.mock.times_accepted()
        places = [place for place, event in self.ledger.produced.items() if times[event.event_id] > 1]
        repeated, (most, why) = self.repeated(), self.budget
        assert repeated <= most, (
            f"{repeated} events were repeated, {most} may be ({why or 'for no reason'}): {places[:10]}"
        )

    def assert_private(self) -> None:
        """Assert that nothing that members print or serve has personal data, its hashes, or a key."""
        secrets = [*self.secrets, *self._canaries()]
        for member in self.members:
            texts = [member.output] + [member.get(path)[1] for path in ("/metrics", "/status", "/readyz")]
            for text in texts:
                assert_private(text, *secrets)
        for dead_letter in self.ledger.dead_letters():
            for name, value in dead_letter.headers.items():
                if name.startswith("capi-"):
                    assert_private((value or b"").decode(), *secrets)

    def _canaries(self) -> list[str]:
        """Hashes and numbers of the first events. Not the addresses: they all have one domain, which is searched for."""
        found: list[str] = []
        for seed in range(1, min(self._seed, _MOST_SEEDS) + 1):
            for _, event in Samples(seed, bad_share=0).stream(200, 0):
                if event["email"]:
                    found.append(sha256(event["email"].encode()).hexdigest())
                if event["phone"]:
                    found += [event["phone"], "".join(filter(str.isdigit, event["phone"]))]
        return found
