"""A record of contacts that several fields come out of is walked into once for all of them: that is much of an event's time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from stream_capi.events.transform import compile_source
from tests.events.making import LEAD, apply, lead, record, rules, sent


class Watched(dict[str, Any]):
    """A record that counts how often each of its fields is read."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.reads: Counter[str] = Counter()

    def __getitem__(self, name: str) -> Any:
        self.reads[name] += 1
        return super().__getitem__(name)


def nested(name: str, **types: Any) -> dict[str, Any]:
    return record(**types) | {"name": name}


CONTACT = nested("Contact", email="string", phone="string")
PERSON = nested("Person", contact=CONTACT, id="string")
SCHEMA = record(**{field["name"]: field["type"] for field in LEAD["fields"]}, person=PERSON)


@pytest.mark.parametrize(
    ("mapping", "of_person"),
    [
        ({"user_data.email": "person.contact.email", "user_data.phone": "person.contact.phone"}, {"contact": 1}),
        ({"user_data.email": ["person.contact.email", "person.contact.phone"]}, {"contact": 1}),
        ({"user_data.email": "person.contact.email", "user_data.user_id": "person.id"}, {"contact": 1, "id": 1}),
    ],
)
def test_a_record_that_two_fields_come_out_of_is_looked_up_once(
    mapping: dict[str, str | list[str]], of_person: dict[str, int]
) -> None:
    transform = compile_source(rules(fields=mapping), SCHEMA)
    person = Watched({"contact": Watched({"email": "a@b.example", "phone": "16505551212"}), "id": "u"})
    (made,) = transform.apply([Watched(lead(person=person))], "leads", 0, [1], 1_741_784_500_000)
    assert "email" in sent(made)["user_data"]
    assert person.reads == of_person


def test_and_so_is_one_that_may_be_null() -> None:
    mapping = {"user_data.email": "person.email", "user_data.phone": "person.phone"}
    raw = SCHEMA | {"fields": [*SCHEMA["fields"][:-1], {"name": "person", "type": ["null", CONTACT]}]}
    row = Watched(lead(person={"email": "a@b.example", "phone": "16505551212"}))
    transform = compile_source(rules(fields=mapping), raw)
    (made,) = transform.apply([row], "leads", 0, [1], 1_741_784_500_000)
    assert {"email", "phone"} <= set(sent(made)["user_data"])
    assert row.reads["person"] == 1
    assert "email" not in sent(apply(transform, lead(person=None)))["user_data"]
