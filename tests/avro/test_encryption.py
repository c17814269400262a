"""Fields that the registry's rules encrypt: which fields they are, and that their values are never read."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from stream_capi.avro.encryption import encrypted, matches, rules_of
from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.writer_schema import WriterSchema, build, definitions

KEY = SchemaKey("id", 7)
CONTACT: Any = {
    "type": "record",
    "name": "Contact",
    "fields": [
        {"name": "email", "type": ["null", "string"], "confluent:tags": ["PII"]},
        {"name": "phones", "type": {"type": "array", "items": "string"}, "confluent:tags": ["PII", "OTHER"]},
        {"name": "zip", "type": "string"},
    ],
}
LEAD: Any = {
    "type": "record",
    "name": "Lead",
    "namespace": "com.acme",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "contact", "type": ["null", CONTACT]},
        {"name": "labels", "type": {"type": "map", "values": "string"}, "confluent:tags": "SECRET"},
        {"name": "other", "type": ["null", "Contact"]},
    ],
}
PATHS = ["id", "contact.email", "contact.phones[0]", "contact.zip", "contact", "labels.x", "other.email", "absent"]
TAGGED = {"contact", "contact.email", "contact.phones[0]", "other.email"}


def rule(kind: str = "ENCRYPT", **more: Any) -> dict[str, Any]:
    return {"name": "r", "kind": "TRANSFORM", "type": kind, "mode": "WRITEREAD", "tags": ["PII"]} | more


def schema(rules: Any, tags: Any = None, where: str = "domainRules") -> WriterSchema:
    stated = rules_of({"ruleSet": {where: rules}, "metadata": {"tags": tags, "properties": None}})
    built = build(KEY, json.dumps(LEAD))
    assert stated is not None
    assert isinstance(built, WriterSchema)
    return replace(built, encrypted=encrypted(stated, definitions(built.raw)))


def met(of: WriterSchema) -> set[str]:
    return {path for path in PATHS if of.encrypted.fault(of.parsed, [path])}


@pytest.mark.parametrize(
    ("rules", "tags", "expected"),
    [
        ([], None, set()),
        ([rule()], None, TAGGED),
        ([rule(mode="WRITE")], None, TAGGED),
        ([rule("encrypt")], None, TAGGED),
        ([rule("ENCRYPT_OF_TOMORROW")], None, TAGGED),
        ([rule(disabled=True)], None, set()),
        ([rule(disabled=False)], None, TAGGED),
        ([rule("CEL"), rule("CEL_FIELD"), rule("JSONATA")], None, set()),
        ([rule("CEL"), rule(tags=["OTHER"])], None, {"contact", "contact.phones[0]"}),
        ([rule(tags=["SECRET"])], None, {"labels.x"}),
        ([rule(tags=["ABSENT"])], None, set()),
        ([rule(tags=["ABSENT"])], {"com.acme.Lead.id": ["ABSENT"]}, {"id"}),
        ([rule(tags=["ABSENT"])], {"com.acme.Contact.*": ["ABSENT"]}, TAGGED | {"contact.zip"}),
        ([rule(tags=["ABSENT"])], {"**.zip": ["ABSENT"]}, {"contact", "contact.zip"}),
        ([rule(tags=["ABSENT"])], {"*.zip": ["ABSENT"]}, set()),
        ([rule(tags=["A"]), rule(tags=["PII"])], None, TAGGED),
        # A rule without a tag encrypts every field.
        ([rule(tags=[])], None, set(PATHS) - {"absent"}),
        ([rule(tags=None)], None, set(PATHS) - {"absent"}),
        ([rule("ENCRYPT_PAYLOAD")], None, set(PATHS)),
        ([rule("ENCRYPT_PAYLOAD", disabled=True)], None, set()),
    ],
)
@pytest.mark.parametrize("where", ["domainRules", "encodingRules"])
def test_a_path_is_encrypted_if_its_last_field_has_a_tag_of_a_rule(
    rules: Any, tags: Any, expected: set[str], where: str
) -> None:
    assert met(schema(rules, tags, where=where)) == expected


def test_the_fault_names_the_paths_and_the_rule_s_type() -> None:
    of = schema([rule()])
    fault = of.encrypted.fault(of.parsed, PATHS)
    assert fault.startswith("the registry's rules encrypt fields that are mapped (ENCRYPT): contact, contact.email")
    assert "zip" not in fault
    assert "ENCRYPT_PAYLOAD" in schema([rule("ENCRYPT_PAYLOAD")]).encrypted.fault(of.parsed, [])


@pytest.mark.parametrize(
    "answer",
    [
        {"ruleSet": [rule()]},
        {"ruleSet": {"domainRules": {"x": rule()}}},
        {"ruleSet": {"domainRules": ["ENCRYPT"]}},
        {"ruleSet": {"encodingRules": [{"name": "x"}]}},
        {"ruleSet": {"domainRules": [rule()]}, "metadata": ["PII"]},
        {"ruleSet": {"domainRules": [rule()]}, "metadata": {"tags": ["PII"]}},
    ],
)
def test_rules_of_another_shape_are_no_answer_of_a_registry(answer: Any) -> None:
    assert rules_of(answer) is None


@pytest.mark.parametrize(
    "answer", [{}, {"ruleSet": []}, {"ruleSet": None, "metadata": None}, {"ruleSet": {"domainRules": None}}]
)
def test_an_answer_without_rules_encrypts_nothing(answer: Any) -> None:
    rules = rules_of(answer)
    assert rules is not None
    assert (rules.rules, rules.payload) == ((), False)


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("eve", "eve*", True),
        ("eve", "e?e", True),
        ("eve", "e?", False),
        ("eve", "Eve", False),
        ("alice.bob.eve", "a*.bob.eve", True),
        ("alice.bob.eve", "a*.bob.e*", True),
        ("alice.bob.eve", "a*", False),
        ("alice.bob.eve", "a**", True),
        ("alice.bob.eve", "alice.bob*", False),
        ("alice.bob.eve", "alice.bob**", True),
        ("alice.bob.eve", "**.eve", True),
        ("alice.bob.eve", "*.eve", False),
        ("alice.bob.eve", "**.*", True),
        ("alice.bob.eve", "alice?bob.eve", False),
        ("alice.bob.eve", "*.*.*", True),
        ("alice.bob.eve", "*.*", False),
        ("", "*", True),
        ("", "?", False),
        ("a", "", False),
    ],
)
def test_patterns_match_as_confluent_s_do(name: str, pattern: str, expected: bool) -> None:
    assert matches(name, pattern) is expected


def test_hostile_patterns_take_no_time() -> None:
    assert not matches("a" * 1000, "**a" * 500 + "b")
    started = time.process_time()
    tags = {f"com.{'*a' * 300}{k}": ["ABSENT"] for k in range(2_000)}
    assert met(schema([rule(tags=["ABSENT"])], tags)) == set(PATHS) - {"absent"}, "rather too many"
    assert time.process_time() - started < 2
