"""The steps for optional fields, identifiers and ids: a wrong value is left out and counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from stream_capi.events import network, value_rules
from stream_capi.events.fields import UNFIT, Field
from stream_capi.events.judging import NONE_WRONG, NOTHING, Judge, Judged
from stream_capi.events.taking import Column, Taking
from stream_capi.events.whole import is_plain
from stream_capi.events.work import Fault, Step, Work, in_json

_NO_UNFIT: Sequence[int] = ()
_has_no_placeholder = value_rules.PLACEHOLDERS.isdisjoint


class Given(NamedTuple):
    """A field that an event may have: where it comes from, and what validates it.

    ``path`` is set if the column of one path is taken as it is. ``sign`` is what the URL has before the field's value, if it
    may have one. ``only_trimmed``: a tidy text needs no further validation.
    """

    name: str
    target: str
    taking: Taking
    path: str | None
    judge: Judge
    before: str
    lead_in: Iterable[str]
    beside: str | None
    sign: str
    only_trimmed: bool

    @classmethod
    def of(cls, field: Field, taking: Taking, judge: Judge, from_url: bool, only_trimmed: bool) -> Given:
        """Adds what the JSON has before the field's text."""
        name, path = field.name, taking.plain_path
        before, sign = f'","{name}":"', f"{name}=" if from_url else ""
        more = repeat(before), field.beside, sign, only_trimmed and path is not None
        return cls(name, field.target, taking, path, judge, before, *more)


def optionals(fields: Sequence[Given]) -> Step:
    """The step for fields that are left out if they are empty, and left out and counted if they are wrong."""
    plain: list[tuple[Any, ...]] = [tuple(field) for field in fields]  # unpacked in a third of a NamedTuple's time
    in_urls = any(field.sign for field in fields)

    def step(work: Work) -> None:
        columns, length, known, pieces, tidy = work.columns, work.length, work.judged, work.pieces, work.tidy
        urls = "".join(filter(None, known["event_source_url"][0])) if in_urls else ""
        for name, target, taking, path, judge, before, lead_in, beside, sign, only_trimmed in plain:
            column, unfit = (columns[path], _NO_UNFIT) if path is not None else taking.column(columns, length)
            in_url = sign and sign in urls
            if not (any(column) or unfit or in_url):
                continue
            others = known[beside][0] if beside in known else None
            judged = _judged(column, unfit, taking, judge, tidy and only_trimmed, others)
            if judged[1]:
                work.drop(name, judged[1])
            if in_url and judged[2] < length:
                judged = _or_of_url(work, judged, name, sign)
            known[target] = judged
            sent = judged[2]
            if sent == length:
                pieces += lead_in, judged[0] if judged[3] else in_json(judged, length)
            elif sent:
                pieces.append([before + text if text else "" for text in in_json(judged, length)])

    return step


def region_step(field: Field, taking: Taking, judge: Judge) -> Step:
    """The step for the country of phone numbers. A value that is no country is counted; the number isn't completed."""

    def step(work: Work) -> None:
        column, unfit = taking.column(work.columns, work.length)
        work.judged[field.target] = judged = _judged(column, unfit, taking, judge, False, None)
        work.drop(field.name, judged[1])

    return step


def _judged(
    column: Column, unfit: Sequence[int], taking: Taking, judge: Judge, only_trimmed: bool, beside: Column | None
) -> Judged:
    """Validate a column. ``only_trimmed``: its texts are tidy, so only placeholders are wrong."""
    if only_trimmed and _has_no_placeholder(column):
        judged: Judged = column, NONE_WRONG, len(column) if all(column) else sum(map(bool, column)), True
    else:
        judged = judge(column, beside)
    if not unfit:
        return judged
    return judged[0], {**judged[1], **dict.fromkeys(unfit, taking.unfit or UNFIT)}, judged[2], judged[3]


def _or_of_url(work: Work, judged: Judged, name: str, sign: str) -> Judged:
    """Take a click's id from the URL, where ``sign`` is before it, for the events that have no mapped one."""
    urls = work.judged["event_source_url"][0]
    given = [network.parameter(url, name) if url and sign in url else "" for url in urls]
    if not any(given):
        return judged
    texts, wrong, sent, plain = judged
    if sent:
        given = ["" if text else of_url for text, of_url in zip(texts, given, strict=True)]
    if not _has_no_placeholder(given):
        empty = {at: value_rules.PLACEHOLDER for at, text in enumerate(given) if text in value_rules.PLACEHOLDERS}
        work.drop(name, empty)
        wrong = {**wrong, **empty}
        given = ["" if at in empty else text for at, text in enumerate(given)]
    work.aside[sign] = given
    merged: Sequence[Any] = [text or of_url for text, of_url in zip(texts, given, strict=True)] if sent else given
    return merged, wrong, sum(map(bool, merged)), plain and is_plain(given)


def identified(targets: Sequence[str], fault: Fault) -> Step:
    """The step that rejects events with none of these identifiers."""

    def step(work: Work) -> None:
        there = []
        for target in targets:
            texts, _, sent, _ = work.judged.get(target, NOTHING)
            if sent == work.length:
                return
            if sent:
                there.append(texts)
        found: Sequence[Any] = list(map(any, zip(*there, strict=True))) if there else [False] * work.length
        work.reject({at: fault for at, is_there in enumerate(found) if not is_there})

    return step


def id_step(ids: Sequence[Given]) -> Step:
    """The step for ``dedupe_id``: the first of these fields, or an id derived from the event's position."""
    before, after = repeat('"},"dedupe_id":"'), repeat('"}')

    def step(work: Work) -> None:
        columns, length, tidy = work.columns, work.length, work.tidy
        known: Judged = NOTHING
        for name, target, taking, path, judge, *_, only_trimmed in ids:
            column, unfit = (columns[path], _NO_UNFIT) if path is not None else taking.column(columns, length)
            judged = _judged(column, unfit, taking, judge, tidy and only_trimmed, None)
            if judged[1]:
                texts = known[0] if known[2] else [None] * length
                work.drop(name, {at: why for at, why in judged[1].items() if not texts[at]})
            work.judged[target] = judged
            if judged[2]:
                known = _or(known, judged) if known[2] else judged
            if known[2] == length:
                break
        if known[2] < length:
            known = _or(known, _derived(work))
        work.aside["id"] = known[0]
        work.pieces += before, known[0] if known[3] else in_json(known, length), after

    return step


def _or(first: Judged, second: Judged) -> Judged:
    """For each event the first text, or the second if there is none."""
    texts = [one or other for one, other in zip(first[0] or second[0], second[0], strict=True)]
    return texts, NONE_WRONG, sum(map(bool, texts)), first[3] and second[3]


def _derived(work: Work) -> Judged:
    """Ids derived from topic, partition and offset."""
    ids = [value_rules.derived_id(f"{work.place}-{offset}") for offset in work.offsets]
    return ids, NONE_WRONG, work.length, True
