"""Masking of personal data and secrets in log lines."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

import stream_capi
from stream_capi.errors import ConfigurationError, StreamCapiError
from stream_capi.observe.masking import FIELDS, HIDDEN, exception_lines, keep_names, mask, scrub, scrub_library_text
from tests.observe import canaries


@pytest.mark.parametrize("form", canaries.FORMS.values(), ids=canaries.FORMS)
def test_text_loses_its_personal_data_keys_and_tokens(form: str) -> None:
    assert canaries.leaked(form), "the form must hold something to lose"
    assert not canaries.leaked(scrub(form))
    assert HIDDEN in scrub(form) or "://" in form


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 12ms in state CONNECT)",
        "leads[3]: offset 41 is behind 57",
        "_TOPIC_AUTHORIZATION_FAILED",
        "the API answered 400 to this event alone",
        "http://registry:8081/apis/ccompat/v7 answers 503",
        "records wait for their schema",
        "main: 401",
        "pixels.main.api_key_env: names a variable that the environment lacks",
    ],
)
def test_text_keeps_what_an_operator_needs(text: str) -> None:
    assert scrub(text) == text


_NAMES = [
    "leads-20261130",
    "t6d10468848.leads",
    "acme.2026113099.views",
    "15551234567",
    canaries.EMAIL,
    canaries.KEY,
    "",
]


@pytest.fixture
def _names() -> Iterator[None]:
    keep_names(_NAMES)
    yield
    keep_names([])


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize(
    "text",
    [
        "t6d10468848.leads: the last stable offset stands still for 5 s: t6d10468848.leads[1]",
        "leads-20261130 at 127.0.0.1:9092/1: behind, and nothing is read",
        "topic leads-20261130 is missing, acme.2026113099.views too.",
        "no schema under the subject leads-20261130-value",
    ],
)
def test_a_name_out_of_the_settings_keeps_its_digits_in_a_text(text: str) -> None:
    assert scrub(text) == text
    assert shown(detail=text)["detail"] == text
    keep_names([])
    assert HIDDEN in scrub(text)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize(
    "text",
    [
        "leads-20261130@example.com",
        "jane@leads-20261130",
        "x-leads-202611301",
        "leads-202611301",
        "15551234567",
        "topic leads-20261130: api_key=leads-20261130 is refused",
        "acme.2026113099.views.20261130",
        canaries.EMAIL,
        canaries.KEY,
    ],
)
def test_what_only_holds_a_name_out_of_the_settings_is_masked(text: str) -> None:
    assert HIDDEN in scrub(text)


@pytest.mark.usefixtures("_names")
@pytest.mark.parametrize("form", canaries.FORMS.values(), ids=canaries.FORMS)
def test_text_loses_its_personal_data_beside_names_out_of_the_settings(form: str) -> None:
    assert not canaries.leaked(scrub(f"leads-20261130[0]: {form}"))


def test_a_url_keeps_where_it_leads_and_nothing_else() -> None:
    text = f"GET https://user:{canaries.TOKEN}@registry.example.com/subjects?a={canaries.QUERY}#{canaries.QUERY} failed"
    assert scrub(text) == "GET https://registry.example.com/subjects failed"


def test_a_text_is_one_line_without_control_characters() -> None:
    assert scrub("one\ntwo\x1b[31m\x00") == "one two [31m "


def test_a_text_is_bounded_and_a_hostile_one_costs_little() -> None:
    assert len(scrub("a " * 100_000)) <= 501
    assert len(scrub("a.b/c-d=e1" * 100_000 + "@")) <= 501


def test_a_librarys_text_loses_everything_quoted_every_long_word_and_all_but_its_first_line() -> None:
    text = "can't parse 'axon-1' or \"x y\" for abcdefghij-0123456789\nfuture: <Task exception=ValueError('axon-2')>"
    assert scrub_library_text(text) == f"can't parse {HIDDEN} or {HIDDEN} for {HIDDEN}"


def shown(**event: Any) -> dict[str, Any]:
    return mask(None, "info", {"event": "something", **event})


def test_a_field_passes_only_under_a_name_of_the_programs_own() -> None:
    line = shown(topic="leads", partition=3, email="axon-1", user={"email": canaries.EMAIL})
    assert (line["topic"], line["partition"], line["withheld"]) == ("leads", 3, 2)
    assert set(line) == {"timestamp", "level", "logger", "event", "topic", "partition", "withheld"}


@pytest.mark.parametrize("key", sorted(FIELDS))
@pytest.mark.parametrize(
    "value",
    [{"email": canaries.EMAIL}, [{"a": canaries.EMAIL}], canaries.EMAIL.encode(), canaries.HASH, canaries.EMAIL],
)
def test_no_field_passes_a_value_of_another_kind(key: str, value: object) -> None:
    assert not canaries.leaked(json.dumps(shown(**{key: value}), ensure_ascii=False))


@pytest.mark.parametrize("name", ["leads", "acme.leads-2026-11-25", "main/generate_lead", "leads[3]", "localhost:9092"])
def test_names_out_of_the_settings_pass_as_they_are(name: str) -> None:
    assert shown(topic=name)["topic"] == name


@pytest.mark.parametrize(
    "name", [canaries.EMAIL, canaries.DIGITS, canaries.HASH, canaries.KEY, canaries.ADDRESS, 'a"b']
)
def test_what_cannot_be_a_name_is_hidden(name: str) -> None:
    assert shown(topic=name)["topic"] == HIDDEN


def test_an_enumeration_passes_as_its_value_and_a_text_that_lies_about_itself_does_not() -> None:
    class State(StrEnum):
        HELD = "held"

    class Liar(str):
        def __str__(self) -> str:
            return canaries.EMAIL

    assert shown(state=State.HELD)["state"] == "held"
    assert shown(reason=Liar("401"))["reason"] == "401"


def _raised(error: BaseException) -> BaseException:
    email = canaries.EMAIL  # a local variable, which a traceback with variables would show
    try:
        raise error
    except BaseException as caught:
        assert email
        return caught


def test_an_exception_is_told_by_type_and_place_without_text_or_variables() -> None:
    line = shown(exc_info=_raised(ValueError(canaries.EMAIL)))
    assert line["error"] == "ValueError"
    assert line["traceback"][0] == "ValueError"
    assert "test_masking.py:" in line["traceback"][1]
    assert line["traceback"][1].endswith(" in _raised")
    assert not canaries.leaked(json.dumps(line))


def test_causes_and_members_of_groups_are_told_the_same_way() -> None:
    inner = _raised(KeyError(canaries.HASH))
    group = _raised(ExceptionGroup(canaries.EMAIL, [ValueError(canaries.PHONE)]))
    group.__cause__ = inner
    lines = list(exception_lines(group))
    assert [line for line in lines if not line.startswith(" ")] == [
        "ExceptionGroup",
        "with",
        "ValueError",
        "after",
        "KeyError",
    ]
    assert not canaries.leaked("\n".join(lines))


def test_only_an_error_of_the_programs_own_keeps_its_text_and_not_its_causes() -> None:
    error = ConfigurationError([f"schema_registry: check the url, not {canaries.EMAIL}"])
    error.__cause__ = ValueError(canaries.TOKEN)
    lines = list(exception_lines(error))
    assert lines == [
        f"stream_capi.errors.ConfigurationError: schema_registry: check the url, not {HIDDEN}",
        "after",
        "ValueError",
    ]
    assert "StreamCapiError: text" in next(exception_lines(StreamCapiError("text")))


def test_an_exception_that_goes_on_for_ever_is_told_in_bounds() -> None:
    def deeper(depth: int) -> None:
        if not depth:
            raise ValueError
        try:
            deeper(depth - 1)
        except ValueError as error:
            raise ValueError from error

    with pytest.raises(ValueError) as caught:  # noqa: PT011 -- it has no text to match
        deeper(100)
    assert len(list(exception_lines(caught.value))) < 100


def _log_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = node.func.value
            name = of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""
            if name in ("log", "_events", "observer", "_observer") and node.func.attr in (
                *("debug", "info", "warning", "error", "critical", "exception", "kafka"),
            ):
                yield node


@pytest.mark.slow
def test_every_field_that_the_program_logs_may_be_shown() -> None:
    unknown = {
        f"{file.name}:{call.lineno}: {keyword.arg}"
        for file in Path(stream_capi.__file__).parent.rglob("*.py")
        for call in _log_calls(ast.parse(file.read_text()))
        for keyword in call.keywords
        if keyword.arg is not None and keyword.arg not in {*FIELDS, "exc_info"}
    }
    assert not unknown


def test_a_topic_with_many_digits_is_named_among_the_offsets_that_were_not_committed() -> None:
    offsets = [
        "t8b1611488f.leads[0] up to 118",
        "leads[1] up to 16505551212",
        "jane@example.com[0] up to 3",
        "16505551212",
    ]
    shown = mask(None, "error", {"event": "stopped", "uncommitted": offsets})
    assert shown["uncommitted"] == [
        "t8b1611488f.leads[0] up to 118",
        "leads[1] up to 16505551212",
        f"{HIDDEN}[0] up to 3",
        HIDDEN,
    ]
