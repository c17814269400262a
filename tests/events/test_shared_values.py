"""A value shared by many events is found in fixed memory, by looking at some of them, without keeping the value."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_capi.events.shared_values import SHARES, FrequentValues, SharedValues
from stream_capi.events.transform import Transform, compile_source
from tests.events.sources_and_records import LEAD, PAGE_VIEW, lead, mapped, page_view, rules

KEY = b"a key of this process"
CANARY = "canary-account-77"


class Told:
    """Records the suspect values that the metrics would get."""

    def __init__(self) -> None:
        self.suspects: Counter[tuple[str, str, str]] = Counter()

    def mapped(self, pixel: str, event: str, n: int) -> None:
        pass

    def identifiers(self, pixel: str, event: str, field: str, n: int) -> None:
        pass

    def dropped(self, field: str, reason: str, n: int) -> None:
        pass

    def suspect(self, event: str, field: str, reason: str, n: int) -> None:
        self.suspects[event, field, reason] += n


def people(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Leads of ``count`` people with distinct values, except for the given fields."""
    return [
        lead(
            **{
                "user_id": f"account-{at}",
                "client_ip_address": f"203.0.{at // 256}.{at % 256}",
                "client_user_agent": f"agent {at}",
            }
            | fields
        )
        for at in range(count)
    ]


def mixed(count: int, share: float, **fields: Any) -> list[dict[str, Any]]:
    """Leads of which a share, evenly distributed, has these values in common."""
    alike = {at for at in range(count) if int((at + 1) * share) > int(at * share)}
    shared = people(count, **fields)
    return [shared[at] if at in alike else row for at, row in enumerate(people(count))]


def found(rows: Sequence[Mapping[str, Any]], chunk: int = 500, allow: float = 1e9) -> dict[tuple[str, str], int]:
    """The shared values found: the number of events by event name and field."""
    shared = SharedValues(KEY)
    transform = compile_source(rules(), LEAD, shared=shared)
    for start in range(0, len(rows), chunk):
        mapped(transform, rows[start : start + chunk])
        shared.allow(allow)
    return ended([transform], shared)


def ended(transforms: Iterable[Transform], shared: SharedValues) -> dict[tuple[str, str], int]:
    told = Told()
    for transform in transforms:
        transform.counts.drain_into(told)
    return {(event, field): n for event, field, n in shared.suspects()}


def test_one_value_in_a_third_of_the_events_is_found_with_their_number() -> None:
    rows = mixed(1000, 0.412, user_id=CANARY)
    assert found(rows, chunk=7) == {("generate_lead", "user_id"): 412}
    (event, field), n = next(iter(found(rows).items()))  # estimated from a sample of the events
    assert (event, field) == ("generate_lead", "user_id")
    assert n == pytest.approx(412, abs=60)


@pytest.mark.parametrize("field", [name for name in SHARES if name not in ("client_ip_address", "client_user_agent")])
def test_each_identifier_is_looked_at(field: str) -> None:
    value = "1" * 8 if field == "phone" else "same@mail.example" if field == "email" else CANARY
    assert found(mixed(600, 0.5, **{field: value}), chunk=10) == {("generate_lead", field): 300}


def test_a_servers_own_address_is_found() -> None:
    assert ("generate_lead", "client_ip_address") in found(mixed(600, 0.4, client_ip_address="198.51.100.7"))


def test_browsers_of_a_kind_have_an_agent_in_common_and_a_server_has_one_for_all() -> None:
    assert found(mixed(600, 0.6, client_user_agent="Mozilla/5.0")) == {}
    assert ("generate_lead", "client_user_agent") in found(mixed(600, 0.97, client_user_agent="python-requests/2.31"))


def test_a_value_in_fewer_is_nobodys_fault() -> None:
    assert found(mixed(2000, 0.2, user_id=CANARY)) == {}
    assert found(people(2000)) == {}


def test_of_a_few_events_nothing_is_said() -> None:
    assert found(mixed(99, 1.0, user_id=CANARY)) == {}
    assert found(mixed(100, 1.0, user_id=CANARY)) == {("generate_lead", "user_id"): 100}


def test_an_event_that_is_not_sent_is_not_looked_at() -> None:
    good, bad = people(300), [row | {"esi": "server", "user_id": CANARY} for row in people(300)]
    rows = [row for pair in zip(good, bad, strict=True) for row in pair]
    assert found(rows) == {}


def test_a_share_is_that_of_the_events_that_carry_the_field() -> None:
    """A default value in one of ten events may be in all events that carry the field."""
    rows = mixed(1500, 0.1, phone="+1 650 555 0199")
    assert found(rows, chunk=9) == {("generate_lead", "phone"): 150}


def test_a_chunk_of_one_record_is_looked_at_like_any_other() -> None:
    assert found(mixed(300, 0.5, user_id=CANARY), chunk=1) == {("generate_lead", "user_id"): 150}


def test_events_of_a_source_are_looked_at_by_their_name() -> None:
    shared = SharedValues(KEY)
    leads = compile_source(rules(), LEAD, shared=shared)
    views = compile_source(rules(event="page_view"), PAGE_VIEW, shared=shared)
    mapped(leads, people(300))
    mapped(views, [page_view(user_id=CANARY, client_ip_address=f"203.0.113.{at % 250}") for at in range(300)])
    told = ended([leads, views], shared)
    assert told["page_view", "user_id"] == 300
    assert {event for event, _ in told} == {"page_view"}


def test_two_schemas_of_a_source_are_one_source() -> None:
    shared = SharedValues(KEY)
    both = [compile_source(rules(), LEAD, shared=shared) for _ in range(2)]
    for transform in both:
        mapped(transform, mixed(60, 0.5, user_id=CANARY))
    assert ended(both, shared) == {("generate_lead", "user_id"): 60}


def test_no_more_is_looked_at_than_is_allowed() -> None:
    """The cost doesn't grow with the load: after the first few chunks nothing more is examined."""
    rows = [*people(2000), *people(4000, user_id=CANARY)]
    assert found(rows, allow=0) == {}
    assert ("generate_lead", "user_id") in found(rows)
    shared = SharedValues(KEY, looks=3)
    transform = compile_source(rules(), LEAD, shared=shared)
    assert {type(one) for start in range(0, 40, 2) for one in mapped(transform, rows[start : start + 2])} == {bytes}


@pytest.mark.slow
def test_neither_a_value_nor_its_hash_is_shown_or_kept_in_sight() -> None:
    shared = SharedValues(KEY)
    transform = compile_source(rules(), LEAD, shared=shared)
    mapped(transform, mixed(300, 0.5, user_id=CANARY))
    windows = [one for one in gc.get_objects() if isinstance(one, FrequentValues)]
    assert windows
    for shown in (repr(shared), *map(repr, windows), repr(transform.counts)):
        assert CANARY not in shown
        assert "b'" not in shown, "no key"


# Frequent keys in fixed memory


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=400))
def test_the_count_of_the_most_frequent_is_never_too_high_and_too_low_by_a_seventeenth_at_most(
    added: list[tuple[int, int]],
) -> None:
    counter, exact = FrequentValues(), Counter[int]()
    for number, n in added:
        counter.add(number.to_bytes(8, "big"), n)
        exact[number] += n
    most = max(exact.values(), default=0)
    assert most - exact.total() / 17 <= counter.most <= most


@given(st.lists(st.integers(0, 10**6), max_size=600), st.integers(0, 10**6))
def test_one_in_a_third_that_is_there_from_the_start_is_counted_exactly(others: list[int], one: int) -> None:
    counter, exact = FrequentValues(), 0
    for at, other in enumerate(others):
        for number in (one, other) if at % 2 == 0 else (other,):
            counter.add(number.to_bytes(8, "big"), 1)
            exact += number == one
    assert counter.most >= exact
