"""Which form of a key is sent, and how answers change it."""

from __future__ import annotations

import pytest

from stream_capi.endpoint.key_forms import KeyForms
from stream_capi.sandbox.mock_api import MockEndpoint
from tests.endpoint.conftest import MakeClient
from tests.endpoint.events import batch, lead

KEY = "canary-key-0123456789"


def told(forms: KeyForms, *answers: int, key: str = KEY) -> list[tuple[str, bool]]:
    """For each answer: the form that it was an answer to, and whether the request is to be repeated at once."""
    seen = []
    for status in answers:
        form = forms.form("pixel", key)
        seen.append((form, forms.answered("pixel", key, form, status)))
    return seen


def test_a_401_has_the_other_form_tried_once_and_the_one_that_is_taken_is_kept() -> None:
    forms, news = KeyForms("auto"), []
    forms.on_taken = lambda pixel_id, form: news.append((pixel_id, form))
    assert forms.taken("pixel") is None
    assert told(forms, 401, 200, 200, 400, 200) == [("bearer", True), *[("raw", False)] * 4]
    assert forms.taken("pixel") == "raw"
    assert news == [("pixel", "raw")]


def test_both_refused_is_final_and_probes_take_the_forms_in_turn() -> None:
    forms = KeyForms("auto")
    assert told(forms, 401, 401) == [("bearer", True), ("raw", False)]
    assert told(forms, 401, 401, 401) == [("bearer", False), ("raw", False), ("bearer", False)]
    assert told(forms, 200, 200) == [("raw", False)] * 2, "a key that was enabled meanwhile"


def test_a_changed_key_tries_both_again_and_begins_with_the_form_that_was_taken() -> None:
    forms = KeyForms("auto")
    told(forms, 401, 200)
    assert told(forms, 401, 401, key="new") == [("raw", True), ("bearer", False)]
    assert forms.taken("pixel") == "raw", "that of the key before"
    assert told(forms, 200) == [("raw", False)]


def test_a_key_that_was_taken_and_is_refused_now_is_tried_in_the_other_form() -> None:
    forms = KeyForms("auto")
    told(forms, 200)
    assert told(forms, 401, 401) == [("bearer", True), ("raw", False)]
    assert forms.taken("pixel") is None


def test_late_answers_to_the_form_before_undo_nothing() -> None:
    forms = KeyForms("auto")
    for _ in range(3):
        forms.form("pixel", KEY)
    assert forms.answered("pixel", KEY, "bearer", 401)
    told(forms, 200)
    assert forms.answered("pixel", KEY, "bearer", 401), "sent before: it goes again, in the form that is taken"
    assert forms.form("pixel", KEY) == "raw"
    assert forms.taken("pixel") == "raw"


@pytest.mark.parametrize("status", [403, 404])
def test_a_fault_of_set_up_after_the_others_401_leaves_both_forms_to_the_probes(status: int) -> None:
    forms = KeyForms("auto")
    assert told(forms, 401, status) == [("bearer", True), ("raw", False)]
    assert told(forms, 401, status) == [("bearer", False), ("raw", False)]
    assert told(forms, 200, status, 200) == [("bearer", False)] * 3, "one that was taken is kept"


@pytest.mark.parametrize("status", [200, 400, 403, 404, 429, 500])
def test_no_other_answer_changes_the_form(status: int) -> None:
    assert told(KeyForms("auto"), status, status) == [("bearer", False)] * 2


@pytest.mark.parametrize("form", ["bearer", "raw"])
def test_a_form_that_is_configured_is_the_only_one(form: str) -> None:
    assert told(KeyForms(form), 401, 401, 200) == [(form, False)] * 3


def test_pixels_know_nothing_of_each_other_and_nothing_is_shown() -> None:
    forms = KeyForms("auto")
    told(forms, 401, 200)
    assert forms.form("canary-pixel", KEY) == "bearer"
    assert "canary" not in repr(forms) + str(vars(forms)["_of"])


@pytest.mark.parametrize(
    ("plays", "statuses"), [("bearer", [200, 200]), ("raw", [401, 200]), ("any", [200, 200])], ids=str
)
async def test_the_client_finds_the_form_that_the_endpoint_takes(
    client: MakeClient, plays: str, statuses: list[int]
) -> None:
    async with MockEndpoint(keys={"p": KEY}, authorization=plays) as mock:  # type: ignore[arg-type]
        made = await client(mock.url, authorization="auto")
        answers = [await made.post("p", KEY, batch(lead(str(number)))) for number in range(2)]
        assert [answer.status for answer in answers] == statuses
        assert [answer.again for answer in answers] == [status == 401 for status in statuses]
        assert made.key_forms.taken("p") == ("raw" if plays == "raw" else "bearer")
        assert [answer.again for answer in [await made.post("p", "wrong", batch(lead())) for _ in range(4)]] == [
            *(True, False, False, False)
        ]
