"""The text of one lane's function, put together from the mapping's paths and the functions of ``fields``, and compiled.

No table is looked up and no rule interpreted for an event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import IntEnum, auto
from typing import Any

import orjson

from stream_capi.config.dotted_paths import steps
from stream_capi.events import kinds, network
from stream_capi.events.rules import SourceRules, as_key
from stream_capi.model import Code, EventName, Lane, Rejection, Skipped
from tests.compiled import fields
from tests.compiled.counts import Counts
from tests.compiled.fields import IDENTIFIER_FIELDS, RESTRICTED_IDENTIFIERS, UNFIT, WRONG
from tests.compiled.paths import Missing, Path, Schema, follow

Make = Callable[[dict[str, Any], str, int, int, int], bytes | Rejection | Skipped]


class Given(IntEnum):
    """What a field's value may be."""

    NEVER = 0
    SOUND = auto()
    MAYBE_UNFIT = auto()


class Compiler:
    """Puts the text of one lane's function together, line by line, and compiles it."""

    def __init__(
        self, rules: SourceRules, schema: Schema, lane: Lane, counts: Counts, without: Sequence[str] = ()
    ) -> None:
        self._rules = rules
        self._schema = schema
        self._lane = lane
        self._restricted = rules.restricted[lane.pixel]
        self._targets = set(rules.targets(lane)) - {f"user_data.{field}" for field in without}
        self._stripped = bool(without)
        self._lines: list[str] = []
        self._bound: dict[Path, str] = {}
        self._globals: dict[str, Any] = {
            "follow": follow,
            "UNFIT": kinds.UNFIT,
            "dumps": orjson.dumps,
            # A copy: what the serialiser returns holds on to the 4 KiB that it was written into, for as long as it is kept.
            "exact": b"".join,
            "masks": counts.identifiers[lane],
            "dropped": counts.dropped,
            "suspects": counts.suspect,
            "name": lane.event.value,
        }

    def make(self) -> Make:
        """Compile the function ``(row, log, offset, oldest, newest)``; ``log`` is the topic and partition in one text."""
        self._add("def make(row, log, offset, oldest, newest):")
        self._bind()
        self._time()
        self._url()
        self._data()
        self._required_user_data()
        self._identifiers()
        self._rest_of_user_data()
        self._end()
        exec("\n".join(self._lines), self._globals)  # noqa: S102 -- our own text; names and texts of others only as reprs
        made: Make = self._globals["make"]
        return made

    def _add(self, line: str, depth: int = 0) -> None:
        self._lines.append("    " * (depth + (line[:4] != "def ")) + line)

    def _indent(self, at: int) -> None:
        """Put the lines from ``at`` on under the one before them."""
        self._lines[at:] = ["    " + line for line in self._lines[at:]]

    def _const(self, value: Any) -> str:
        name = f"c{len(self._globals)}"
        self._globals[name] = value
        return name

    def _reject(self, code: Code, target: str, wrong: str) -> str:
        paths = " or ".join(f'"{path}"' for path in self._rules.rule(target).paths)
        detail = f"{target}: {wrong}" + (f" (from {paths})" if paths else "")
        return self._const(Rejection(code, detail, self._lane.pixel))

    def _bind(self) -> None:
        """Look up once what several fields come out of: a record of contacts is in one local variable for all of them."""
        paths = dict.fromkeys(path for target in sorted(self._targets) for path in self._rules.rule(target).paths)
        parents = Counter(steps(path)[:-1] for path in paths)
        for parent in sorted((parent for parent, n in parents.items() if n > 1 and parent), key=len):
            found = self._schema.find(parent, self._bound)
            if not isinstance(found, Missing):
                name = f"r{len(self._bound)}"
                self._add(f"{name} = {found.code}")
                self._bound[parent] = name

    # The raw value of a field, in ``v``

    def _nothing(self, target: str) -> str:
        """Of a text: neither null nor empty is one to send."""
        return f"v is None or v is not UNFIT and len(v) <= {fields.longest(target)} and not v.strip()"

    def _value(self, target: str, reader: Callable[..., Any] = kinds.text_reader, *args: Any) -> Given:
        """Write the lines that set ``v`` to the first value that is neither null nor empty."""
        rule = self._rules.rule(target)
        if rule.has_const:
            self._add(f"v = {self._const(str(rule.const) if reader is kinds.text_reader else rule.const)}")
            return Given.SOUND
        given = Given.NEVER
        ways = [self._schema.find(path, self._bound) for path in rule.paths]
        found = [way for way in ways if not isinstance(way, Missing)]
        for at, (code, of_kinds) in enumerate(found):
            read = reader(of_kinds, *args)
            depth = int(at > 0)
            if at:
                self._add(f"if {self._nothing(target) if reader is kinds.text_reader else 'v is None'}:")
            self._add(f"v = {code}", depth)
            if read is not None:
                self._add(f"if v is not None: v = {self._const(read)}(v)", depth)
            given = max(given, Given.SOUND if read is None else Given.MAYBE_UNFIT)
        return given

    def _missing(self, target: str) -> str:
        return f"return {self._reject(Code.MISSING_FIELD, target, 'is absent')}"

    def _invalid(self, target: str) -> str:
        return f"return {self._reject(Code.INVALID_FIELD, target, WRONG[target].sentence)}"

    def _too_long(self, target: str) -> str:
        return f"return {self._reject(Code.INVALID_FIELD, target, fields.too_long(target).sentence)}"

    def _function_of(self, target: str) -> Callable[..., Any] | None:
        return fields.function_of(target, hash_here=self._rules.hash_here, restricted=self._restricted)

    def _required(self, target: str, name: str) -> None:
        """A field that the event can't be without, made valid into ``name``."""
        if not self._value(target):
            self._add(self._missing(target))
            return
        long = f"len(v) > {fields.longest(target)}"
        wrong = f"{long} or not ({name} := {self._const(self._function_of(target) or str.strip)}(v))"
        if target in fields.KNOWN:
            wrong = f"not ({name} := {self._const(fields.KNOWN[target].get)}(v)) and ({wrong})"
        self._add(f"if v is None or v is UNFIT or {wrong}:")
        self._add(f"if {self._nothing(target)}: {self._missing(target)}", 1)
        self._add(f"if v is not UNFIT and {long}: {self._too_long(target)}", 1)
        self._add(self._invalid(target), 1)

    # The fields, in order

    def _time(self) -> None:
        target = "event_time"
        unit = self._rules.rule(target).unit
        if not self._value(target, kinds.time_reader, unit):
            self._add(self._missing(target))
            return
        self._add(f"if v is None: {self._missing(target)}")
        least = 1 if unit == "s" else fields.LEAST_TIME_MS
        self._add(f"if v is UNFIT or not {least} <= v < {fields.MOST_TIME_MS}: {self._invalid(target)}")
        old = self._reject(Code.TOO_OLD, target, "is older than delivery.max_age_seconds")
        future = self._reject(Code.IN_FUTURE, target, "is more than delivery.max_future_seconds ahead")
        self._add(f"if not oldest <= v <= newest: return {old} if v < oldest else {future}")
        self._add("event_time = v")

    def _url(self) -> None:
        self._required("event_source_url", "url")

    def _data(self) -> None:
        if self._lane.event is EventName.PAGE_VIEW:
            self._add("data = None")
            return
        self._currency()
        self._lead_value()
        self._add("data = {'currency': currency, 'value': value}")

    def _currency(self) -> None:
        target, default = "data.currency", self._rules.default_currency
        if default is None:
            self._required(target, "currency")
            return
        if not self._value(target):
            self._add("v = None")
        self._add(f"if {self._nothing(target)}: v = {self._const(default)}")
        self._add(f"if v is not UNFIT and len(v) > {fields.longest(target)}: {self._too_long(target)}")
        valid = f"(currency := {self._const(fields.currency)}(v))"
        self._add(f"if v is UNFIT or {valid} is None: {self._invalid(target)}")

    def _lead_value(self) -> None:
        target, rule = "data.value", self._rules.values
        if rule is not None:
            found = self._schema.find(rule.field, self._bound)
            code = "None" if isinstance(found, Missing) else found.code
            self._add(f"value = {self._const(rule.table)}.get({self._const(as_key)}({code}), {rule.default!r})")
            self._add("if value is None:")
        at = len(self._lines)
        if self._value(target, kinds.number_reader):
            self._add(f"if v is None: {self._missing(target)}")
            valid = f"(value := {self._const(fields.value)}(v))"
            self._add(f"if v is UNFIT or {valid} is None: {self._invalid(target)}")
        else:
            self._add(self._missing(target))
        if rule is not None:
            self._indent(at)

    def _required_user_data(self) -> None:
        self._required("user_data.client_ip_address", "ip")
        then = "suspects['client_ip_address', reason] += 1"
        if self._rules.refuse_private:
            target = "user_data.client_ip_address"
            then = f"return {self._reject(Code.INVALID_FIELD, target, 'is no public address')}"
        maybe = f"':' in ip or ip.startswith({network._MAYBE_SUSPECT_IPV4!r})"  # of most addresses, the call is saved
        self._add(f"if ({maybe}) and (reason := {self._const(network.suspect)}(ip)) is not None: {then}")
        self._required("user_data.client_user_agent", "agent")
        self._required("user_data.esi", "esi")
        self._add("user = {'client_ip_address': ip, 'client_user_agent': agent, 'esi': esi}")

    def _identifiers(self) -> None:
        counted = RESTRICTED_IDENTIFIERS if self._restricted else IDENTIFIER_FIELDS
        self._add("mask = 0")
        for bit, field in enumerate(IDENTIFIER_FIELDS):
            if f"user_data.{field}" not in self._targets:
                continue
            self._optional(field, f"; mask |= {1 << bit}")
            if field in ("aleid", "alart"):
                self._from_url(field, 1 << bit)
        needed = sum(1 << bit for bit, field in enumerate(IDENTIFIER_FIELDS) if field in counted)
        none = (
            self._const(Skipped("no_consent"))
            if self._stripped
            else self._const(Rejection(Code.NO_IDENTIFIER, f"none of {', '.join(counted)} is there", self._lane.pixel))
        )
        self._add(f"if not mask & {needed}: return {none}")

    def _from_url(self, field: str, bit: int) -> None:
        given = f"{self._const(network.parameter)}(url, '{field}')"
        absent = f"not mask & {bit} and '{field}=' in url"
        self._add(f"if {absent} and (p := {given}): user['{field}'] = p; mask |= {bit}")

    def _rest_of_user_data(self) -> None:
        for field in ("country_code", "zip", "os", "sid", "ifa", "idfv"):
            if f"user_data.{field}" in self._targets:
                self._optional(field)

    def _optional(self, field: str, then: str = "") -> None:
        """A field that is left out where it is empty, and left out and counted where it is wrong."""
        target = f"user_data.{field}"
        given = self._value(target)
        if not given:
            return
        if given is Given.MAYBE_UNFIT:
            self._unfit(field)
        there, sent = "    elif v := v.strip():", f"user['{field}'] = v{then}"
        if target in fields.KNOWN:
            self._add(f"if p := {self._const(fields.KNOWN[target].get)}(v): user['{field}'] = p{then}")
        self._add(f"{'el' * (target in fields.KNOWN)}if v is not None:")
        self._add(self._long(target), 1)
        rule = self._function_of(target)
        if rule is None:
            self._add(f"{there} {sent}")
            return
        args = "v, user.get('country_code')" if field == "zip" else "v"
        wrong = f"dropped['{field}', '{WRONG[target].reason}'] += 1"
        self._add(there)
        self._add(f"if (v := {self._const(rule)}({args})) is None: {wrong}", 2)
        self._add(f"else: {sent}", 2)

    def _unfit(self, field: str) -> None:
        self._add(f"if v is UNFIT: dropped['{field}', '{UNFIT.reason}'] += 1; v = None")

    def _long(self, target: str) -> str:
        """A text that is too long is left out and counted, before anything is done with it."""
        reason = fields.too_long(target).reason
        return f"if len(v) > {fields.longest(target)}: dropped['{target.rpartition('.')[2]}', '{reason}'] += 1"

    def _end(self) -> None:
        """The id, and the event."""
        self._id("dedupe_id")
        self._add("if not dedupe:")
        at = len(self._lines)
        self._id("event_id")
        self._indent(at)
        self._add(f"if not dedupe: dedupe = {self._const(fields.derived_id)}(f'{{log}}-{{offset}}')")
        self._add("masks[mask] += 1")
        url = f"{self._const(network.origin)}(url)" if self._restricted else "url"
        self._add(
            f"return exact((dumps({{'name': name, 'event_time': event_time, 'event_source_url': {url}, 'data': data, "
            "'user_data': user, 'dedupe_id': dedupe}), b''))"
        )

    def _id(self, target: str) -> None:
        given = self._value(target)
        if given is Given.MAYBE_UNFIT:
            self._unfit(target)
        self._add("dedupe = ''")
        if given:
            self._add("if v is not None:")
            self._add(self._long(target), 1)
            self._add("else: dedupe = v.strip()", 1)
