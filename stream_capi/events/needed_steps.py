"""The steps for required fields: an event is rejected if one is missing or wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from typing import Any

from stream_capi.config import ValueRule
from stream_capi.events import network, value_rules
from stream_capi.events.fields import ABSENT, IN_FUTURE, TOO_OLD, Field
from stream_capi.events.judging import NONE_WRONG, Judge, Judged
from stream_capi.events.rules import as_key
from stream_capi.events.taking import Taking
from stream_capi.events.value_rules import Wrong
from stream_capi.events.whole import numbers
from stream_capi.events.work import Step, Work, in_json
from stream_capi.model import Code, Rejection

_CODES = {ABSENT: Code.MISSING_FIELD, TOO_OLD: Code.TOO_OLD, IN_FUTURE: Code.IN_FUTURE}


class Needed:
    """A required field: where it comes from, and the rejections of events for it."""

    def __init__(self, field: Field, taking: Taking, pixel: str) -> None:
        self.field = field
        self.taking = taking
        self._pixel = pixel

    def rejection(self, wrong: Wrong) -> Rejection:
        """The rejection, which names the field, the rule and the paths."""
        paths = " or ".join(f'"{path}"' for path in self.taking.rule.paths)
        detail = f"{self.field.target}: {wrong.sentence}" + (f" (from {paths})" if paths else "")
        return Rejection(_CODES.get(wrong, Code.INVALID_FIELD), detail, self._pixel)

    def fail(self, work: Work, judged: Judged, wrong: Mapping[int, Wrong]) -> Judged:
        """Reject events, and remove their values."""
        made = {why: self.rejection(why) for why in set(wrong.values())}
        work.reject({at: made[why] for at, why in wrong.items()})
        found = [None if at in wrong else value for at, value in enumerate(judged[0])]
        return found, {**judged[1], **wrong}, len(found) - found.count(None), judged[3]

    def settle(self, work: Work, judged: Judged, unfit: Sequence[int]) -> Judged:
        """Reject the events without a text, or with a wrong one."""
        wrong = {at: ABSENT for at, value in enumerate(judged[0]) if not value}
        wrong |= judged[1]
        wrong |= dict.fromkeys(unfit, self.taking.unfit or self.field.wrong)
        return self.fail(work, judged, wrong)


def time_step(needed: Needed, before: str) -> Step:
    """The step for the event's time."""
    taking, target, invalid = needed.taking, needed.field.target, needed.field.wrong
    unit = taking.rule.unit
    least, most = 1 if unit == "s" else value_rules.LEAST_TIME_MS, value_rules.MOST_TIME_MS - 1
    lead_in, path = repeat(before), taking.plain_path

    def wrong(time: int | None, work: Work) -> Wrong | None:
        if time is None:
            return ABSENT
        if value_rules.time(time, unit) is None:
            return invalid
        return TOO_OLD if time < work.oldest else IN_FUTURE if time > work.newest else None

    def step(work: Work) -> None:
        times, unfit = (work.columns[path], ()) if path is not None else taking.column(work.columns, work.length)
        judged: Judged = times, NONE_WRONG, work.length, True
        if (
            unfit
            or None in times
            or not (
                least <= (first := min(times)) <= (last := max(times)) <= most
                and work.oldest <= first
                and last <= work.newest
            )
        ):
            faults = {at: why for at, time in enumerate(times) if (why := wrong(time, work)) is not None}
            judged = needed.fail(work, judged, faults | dict.fromkeys(unfit, taking.unfit or invalid))
        work.judged[target] = judged
        work.pieces += lead_in, numbers(judged[0])

    return step


More = Callable[[Work, Judged, Sequence[int]], Judged]


def required(needed: Needed, judge: Judge, before: str, settle: More | None = None, then: More | None = None) -> Step:
    """The step for a required text.

    :param before: what the JSON has before the text.
    :param settle: handles the events without a valid text; by default it rejects them.
    :param then: a further check, called unless the rule returned the column as it is.
    """
    taking, target, lead_in = needed.taking, needed.field.target, repeat(before)
    path, settle = taking.plain_path, settle or needed.settle

    def step(work: Work) -> None:
        length = work.length
        column, unfit = (work.columns[path], ()) if path is not None else taking.column(work.columns, length)
        judged = judge(column, None)
        if judged[2] < length:
            judged = settle(work, judged, unfit)
        if then is not None and judged[0] is not column:
            judged = then(work, judged, unfit)
        work.judged[target] = judged
        work.pieces += lead_in, judged[0] if judged[3] and judged[2] == length else in_json(judged, length)

    return step


def origin_step(needed: Needed, judge: Judge, before: str) -> Step:
    """The step for the URL in the restricted profile: only scheme and host are sent."""
    judge_url = required(needed, judge, before)

    def step(work: Work) -> None:
        judge_url(work)
        urls = work.judged[needed.field.target][0]
        origins = work.aside["origin"] = [network.origin(url) if url else "" for url in urls]
        work.pieces[-1] = origins

    return step


def or_default(needed: Needed, default: Any) -> More:
    """Give events without a text the default; ``default`` is validated already, and may be a Wrong."""

    def settle(work: Work, judged: Judged, unfit: Sequence[int]) -> Judged:
        texts, wrong, sent, plain = judged
        absent = [at for at, text in enumerate(texts) if not text and at not in wrong and at not in unfit]
        work.aside["default_currency"] = absent
        found = list(texts)
        if isinstance(default, Wrong):
            wrong = {**wrong, **dict.fromkeys(absent, default)}
        else:
            for at in absent:
                found[at] = default
        return needed.settle(work, (found, wrong, sent, plain), unfit)

    return settle


def suspects(needed: Needed, refused: Wrong | None) -> More:
    """Find the addresses that can't be a user's; they are counted, or the events are rejected with ``refused``."""

    def then(work: Work, judged: Judged, _: Sequence[int]) -> Judged:
        found = {at: why for at, text in enumerate(judged[0]) if text and (why := network.suspect(text))}
        if refused is not None:
            return needed.fail(work, judged, dict.fromkeys(found, refused)) if found else judged
        work.aside["suspect"] = [found.get(at) for at in range(work.length)] if found else []
        return judged

    return then


def amount_step(needed: Needed, table: ValueRule | None, table_path: str | None) -> Step:
    """The step for a lead's value: from the source's table, or as mapped. ``table_path``: None if the schema lacks it."""
    taking, target, wrong_value = needed.taking, needed.field.target, needed.field.wrong
    before, after = repeat('","value":'), repeat('},"user_data":{"client_ip_address":"')

    def mapped(work: Work) -> tuple[list[Any], dict[int, Wrong]]:
        given, unfit = taking.column(work.columns, work.length)
        amounts = [None if number is None else value_rules.value(number) for number in given]
        if None not in amounts:
            return amounts, {}
        found = zip(given, amounts, strict=True)
        wrong = {
            at: ABSENT if number is None else wrong_value for at, (number, amount) in enumerate(found) if amount is None
        }
        return amounts, wrong | dict.fromkeys(unfit, taking.unfit or wrong_value)

    def by_table(work: Work, rule: ValueRule) -> list[Any]:
        raw = [None] * work.length if table_path is None else work.columns[table_path]
        of, default = rule.table, rule.default
        worth = work.aside["worth"] = [of.get(key, default) if key is not None else default for key in map(as_key, raw)]
        return worth

    def step(work: Work) -> None:
        worth = by_table(work, table) if table is not None else None
        if worth is None:
            amounts, wrong = mapped(work)
        elif None in worth:
            amounts, wrong = mapped(work)
            wrong = {at: why for at, why in wrong.items() if worth[at] is None}
            amounts = [amount if value is None else value for amount, value in zip(amounts, worth, strict=True)]
        else:
            amounts, wrong = worth, {}
        judged: Judged = amounts, NONE_WRONG, work.length, True
        if wrong:
            judged = needed.fail(work, judged, wrong)
        work.judged[target] = judged
        work.pieces += before, numbers(judged[0]), after

    return step
