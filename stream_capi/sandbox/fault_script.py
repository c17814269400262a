"""The faults that the stand-in plays: rules read from a file, for drills.

A script is TOML, or JSON of the same shape if the file's name ends in ``.json``. The first rule that fits a request is
applied; a request that no rule fits is validated and answered as usual. ::

    seed = 7                        # of everything that is random below

    [[rules]]                       # the first three requests are throttled: retry after a second
    first = 3
    status = 503
    headers = { Retry-After = 1 }

    [[rules]]                       # poison: batches with this event are refused for as long as it is in them
    dedupe_ids = ["lead-17"]
    status = 400

    [[rules]]                       # from the 10th to the 20th second one pixel's key is refused
    pixel = "AXON-1"
    seconds = [10, 20]
    status = 401

    [[rules]]                       # two in a hundred are processed, but the client gets no answer
    share = 0.02
    hang = true
    processed = true

    [[rules]]                       # now and then there is an answer to no request
    every = 50
    stray = 408

    [[rules]]                       # everything else is answered slowly
    delay_ms = [20, 300]

Conditions, all of which must hold: ``pixel``; ``event`` (the name of any event in the batch); ``dedupe_ids`` (any of them is
in the batch); ``seconds`` ([from, to) since the start); ``share`` (of such requests, at random); and, counted over the
requests that these fit: ``first`` (N), ``after`` (the first N are left alone), ``every`` (Nth).
``blocks_at`` (N errors) makes a rule a block: after N answers of 4xx within ``blocks_within`` seconds (by default 300) it
applies for ``blocks_for`` seconds (by default a day). The block's own answers are not counted.

Actions: ``status``; ``headers``; ``delay_ms`` (a number, or [least, most]) before whatever is answered; ``body`` ("endless",
"drip" or "gzip_bomb" in place of the answer's); ``redirect`` (a URL; status 307 unless another is given); ``hang`` (no
answer); ``reset`` ("before_body" or "after_body"); ``early`` (a 200, or the status that is given, before the body is read;
then the connection is closed with the body unread; a body of up to 64 KiB is answered as usual, because the kernel may take
it whole, and the client couldn't tell the difference); ``stray`` (a status: a second answer, to no request, when the
connection has been idle for 100 ms after the first).
``processed``: the events count as accepted, although the client doesn't learn it because of hang, reset or a status.
"""

from __future__ import annotations

import asyncio
import json
import random
import tomllib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from stream_capi.config.files import content
from stream_capi.config.shape import meant
from stream_capi.errors import ConfigurationError

Body = Literal["endless", "drip", "gzip_bomb"]
Reset = Literal["before_body", "after_body"]


@dataclass(frozen=True, slots=True, repr=False)
class RequestInfo:
    """A request as a rule sees it: its number from 1, the seconds since the start, and its events once they are read."""

    number: int
    seconds: float
    pixel_id: str
    events: Sequence[Mapping[str, Any]] = ()

    @property
    def dedupe_ids(self) -> tuple[str, ...]:
        """The ids of the events that have one."""
        ids = (event.get("dedupe_id") for event in self.events)
        return tuple(name for name in ids if isinstance(name, str))

    def __repr__(self) -> str:
        return f"RequestInfo({self.number}, {len(self.events)} events)"


@dataclass(frozen=True, slots=True)
class Action:
    """What to do with one request; a default means the usual behaviour.

    ``until`` is for code in the same process: the answer waits for this event, and then for the delay.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    body: Body | None = None
    hang: bool = False
    reset: Reset | None = None
    processed: bool = False
    early: bool = False
    stray: int | None = None
    until: asyncio.Event | None = None


def _pair(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2:
        return tuple(value)
    if isinstance(value, int | float):
        return value, value
    raise ValueError("must be a number of milliseconds, or [least, most]")


def _texts(value: Any) -> Any:
    """Accept numbers as values of headers."""
    if not isinstance(value, dict):
        return value
    return {name: str(text) if type(text) in (int, float) else text for name, text in value.items()}


_NOT_EARLY = ("hang", "reset", "body", "delay_ms", "stray")
Count = Annotated[int, Field(ge=1)]
Milliseconds = Annotated[int, Field(ge=0, le=3_600_000)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderText = Annotated[str, Field(pattern=r"^[ -~]*$")]


class ScriptRule(BaseModel):
    """One of ``[[rules]]``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    pixel: str | None = None
    event: Literal["page_view", "generate_lead"] | None = None
    dedupe_ids: tuple[str, ...] | None = None
    seconds: tuple[float, float] | None = None
    share: float | None = Field(None, gt=0, le=1)
    first: Count | None = None
    after: Count | None = None
    every: Count | None = None
    blocks_at: Count | None = None
    blocks_within: float = Field(300.0, gt=0)
    blocks_for: float = Field(86_400.0, gt=0)

    status: int | None = Field(None, ge=200, le=599)
    headers: Annotated[dict[HeaderName, HeaderText], BeforeValidator(_texts)] = {}
    delay_ms: Annotated[tuple[Milliseconds, Milliseconds], BeforeValidator(_pair)] | None = None
    body: Body | None = None
    redirect: HeaderText | None = None
    hang: bool = False
    reset: Reset | None = None
    processed: bool = False
    early: bool = False
    stray: int | None = Field(None, ge=200, le=599)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        answers = [name for name in ("status", "headers", "body", "redirect", "stray") if getattr(self, name)]
        silent = "hang" if self.hang else "reset"
        if not (answers or self.delay_ms or self.hang or self.reset or self.early):
            raise ValueError(
                "does nothing: give it a status, a delay_ms, a body, a redirect, a hang, a reset, early or stray"
            )
        if self.hang and self.reset:
            raise ValueError("can't both hang and reset")
        if (self.hang or self.reset) and answers:
            raise ValueError(f"{answers[0]} has no effect, because {silent} gives no answer")
        if self.processed and not (
            self.hang or self.reset == "after_body" or (self.status not in (None, 200) and not self.early)
        ):
            raise ValueError('processed needs hang, reset = "after_body" or a status that is not 200')
        if self.reset == "before_body" and (self.event or self.dedupe_ids):
            raise ValueError("a reset before the body can't depend on the events in it")
        if self.early and (others := [name for name in _NOT_EARLY if getattr(self, name)]):
            raise ValueError(f"early can't be together with {others[0]}")
        if self.early and (self.event or self.dedupe_ids):
            raise ValueError("an answer before the body can't depend on the events in it")
        if self.stray and self.body:
            raise ValueError(f"stray can't come after body {self.body}")
        if self.redirect and self.status is not None and not 300 <= self.status < 400:
            raise ValueError("redirect needs a status from 300 to 399, or none")
        for name in ("seconds", "delay_ms"):
            if (span := getattr(self, name)) and span[0] > span[1]:
                raise ValueError(f"{name} ends before it begins")
        return self

    def fits(self, request: RequestInfo) -> bool:
        """Whether the conditions hold that depend neither on counts nor on chance."""
        return (
            (self.pixel is None or self.pixel == request.pixel_id)
            and (self.event is None or any(event.get("name") == self.event for event in request.events))
            and (self.dedupe_ids is None or not set(self.dedupe_ids).isdisjoint(request.dedupe_ids))
            and (self.seconds is None or self.seconds[0] <= request.seconds < self.seconds[1])
        )

    def due(self, count: int) -> bool:
        """Whether the rule applies to the ``count``-th request that it fits, counted from 1."""
        return (
            (self.first is None or count <= self.first)
            and (self.after is None or count > self.after)
            and (self.every is None or count % self.every == 0)
        )

    def action(self, chance: random.Random) -> Action:
        """What to do with one request; the delay is drawn from ``chance``."""
        headers, status = self.headers, self.status
        if self.redirect:
            headers, status = headers | {"Location": self.redirect}, status or 307
        if self.early:
            status = status or 200
        delay = chance.uniform(*self.delay_ms) / 1000 if self.delay_ms else 0.0
        known = (self.body, self.hang, self.reset, self.processed)
        return Action(status, headers, delay, *known, early=self.early, stray=self.stray)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    seed: int = 0
    rules: tuple[ScriptRule, ...]


class Script:
    """Rules with the counts of their requests. An instance is for one stand-in, from its start."""

    def __init__(self, rules: Sequence[ScriptRule] = (), seed: int = 0) -> None:
        self._rules = tuple(rules)
        self._chance = random.Random(seed)
        self._counts = [0] * len(self._rules)
        self._errors = [deque[float](maxlen=rule.blocks_at) for rule in self._rules]
        self._blocked_until = [float("-inf")] * len(self._rules)

    @classmethod
    def load(cls, path: Path) -> Script:
        """The script of a file. Raises ConfigurationError with every fault, each with its rule's number and key."""
        try:
            text = content(path).decode("utf-8")
            data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except OSError as error:
            raise ConfigurationError([f"{path}: can't be read: {error.strerror}"]) from None
        except (ValueError, RecursionError) as error:  # both decoders' errors, and bytes that are no UTF-8
            why = (
                str(error) if isinstance(error, tomllib.TOMLDecodeError | json.JSONDecodeError) else "not text in UTF-8"
            )
            raise ConfigurationError([f"{path}: is not a script: {why}"]) from None
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: Any, origin: str = "script") -> Script:
        """The script of decoded TOML or JSON. Raises ConfigurationError as ``load`` does."""
        try:
            # Validated from JSON: in strict mode, pydantic accepts a list as a tuple only there.
            file = _File.model_validate_json(json.dumps(data, default=str))
        except ValidationError as error:
            raise ConfigurationError([f"{origin}: {_error_message(each)}" for each in error.errors()]) from None
        return cls(file.rules, file.seed)

    @property
    def has_early(self) -> bool:
        """Whether any rule answers before the body is read."""
        return any(rule.early for rule in self._rules)

    def before_body(self, request: RequestInfo) -> Action | None:
        """What to do while only the request's head is known: a reset or an early answer. None: read the body."""
        return self._follow(request, early=True)

    def action(self, request: RequestInfo) -> Action | None:
        """What to do with a request that was read. None: answer as usual."""
        return self._follow(request, early=False)

    def answered(self, seconds: float, status: int | None) -> None:
        """Count an answer for the rules with ``blocks_at``; ``seconds`` is the time since the start."""
        if status is None or not 400 <= status < 500:
            return
        for at, (rule, errors) in enumerate(zip(self._rules, self._errors, strict=True)):
            if rule.blocks_at is None or seconds < self._blocked_until[at]:
                continue
            errors.append(seconds)
            if len(errors) == rule.blocks_at and seconds - errors[0] < rule.blocks_within:
                self._blocked_until[at] = seconds + rule.blocks_for
                errors.clear()

    def _follow(self, request: RequestInfo, *, early: bool) -> Action | None:
        for at, rule in enumerate(self._rules):
            if rule.blocks_at is not None and request.seconds >= self._blocked_until[at]:
                continue
            if (rule.early or rule.reset == "before_body") is not early or not rule.fits(request):
                continue
            if rule.share is not None and self._chance.random() >= rule.share:
                continue
            self._counts[at] += 1
            if rule.due(self._counts[at]):
                return rule.action(self._chance)
        return None


def _error_message(error: ErrorDetails) -> str:
    steps, where, known = list(error["loc"]), "", list(_File.model_fields)
    if len(steps) > 1 and isinstance(number := steps[1], int):
        steps, where, known = steps[2:], f"rule {number + 1}: ", list(ScriptRule.model_fields)
    key = ".".join(str(step) for step in steps if step != "[key]")
    what = error["msg"].removeprefix("Value error, ").replace("Input should", "must")
    if error["type"] == "extra_forbidden":
        what = "is not known" + meant(key, known)
    elif error["type"] == "missing":
        what = "is missing"
    return where + (f"{key}: " if key else "") + what[:1].lower() + what[1:]
