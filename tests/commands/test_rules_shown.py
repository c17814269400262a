"""The rules that dead letters broke, as shown to people, whatever a dead letter's detail header contains."""

from __future__ import annotations

from stream_capi.cli.dead_letter_view import rules_shown
from stream_capi.events.rejected_field import RejectedRule, most_rejected
from stream_capi.model import Code
from stream_capi.operations.dead_letters import StoredDeadLetter, dead_letter_of
from tests.fake_record import FakeRecord

CANARY = "canary.person@example.com"


def letter(code: Code, detail: str) -> StoredDeadLetter:
    own = {"code": code.value, "detail": detail}
    place = {"topic": "leads", "partition": "0", "offset": "7", "timestamp": "-1"}
    headers: list[tuple[str, bytes | None]] = [(f"capi-error-{name}", text.encode()) for name, text in own.items()]
    headers += [(f"capi-source-{name}", text.encode()) for name, text in place.items()]
    found = dead_letter_of(FakeRecord(headers=headers))
    assert found is not None
    return found


def test_letters_are_counted_by_code_field_and_path() -> None:
    missing = letter(Code.MISSING_FIELD, 'event_source_url: is absent (from "page.url" or "url")')
    others = [letter(Code.MISSING_FIELD, "event_time: is absent"), letter(Code.DECODE_ERROR, "at byte 5: too short")]
    found = rules_shown([missing] * 173 + others)
    assert found == {
        RejectedRule("missing_field", "event_source_url", '"page.url" or "url"'): 173,
        RejectedRule("missing_field", "event_time"): 1,
        RejectedRule("decode_error"): 1,
    }
    assert most_rejected(found) == '173 of 175: missing_field event_source_url (from "page.url" or "url")'
    assert most_rejected(rules_shown([])) == ""


def test_what_a_stranger_wrote_as_a_path_is_masked_and_cut() -> None:
    long = "x" * 3000
    found = rules_shown(
        letter(Code.INVALID_FIELD, f'{field}: is wrong (from "{CANARY}\x1b[2J{long}")')
        for field in ("event_time", CANARY)
    )
    assert len(found) == 2
    for rule in found:
        assert CANARY not in str(rule)
        assert len(str(rule)) < 250
        assert str(rule).isprintable()
    assert {rule.field for rule in found} == {"event_time", ""}, "only a field of the event is one"
