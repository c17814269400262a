"""``stream-capi test --update`` writes the outcomes and keeps all else in the file; a second run changes nothing."""

from __future__ import annotations

import json
import os
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream_capi.operations.cases import CaseFile, Expectation
from stream_capi.operations.expectations import CantBeUpdated, expectation_as_table, updated
from tests.commands.mapping_cases import TIME, Folder, a_lead
from tests.proof.profile import SHORT

RECORD = f"""\
event_id = "e-1"
event_time = {TIME}
event_source_url = "https://shop.example/quote"
currency = "USD"
value = 30.0
user_id = "user-1"   # who
client_ip_address = "172.59.8.172"
client_user_agent = '''
a#b
[[cases]]
'''
esi = "web"
"""


@pytest.fixture(autouse=True)
def _no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STREAM_CAPI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


EXPECTS = {
    "nothing": "",
    "inline": "expect = { skipped = 'where' }  # why {n}\n",
    "dotted": "expect.skipped = 'where' # why {n}\n",
    "a table": "[cases.expect] # head {n}\n# above {n}\nskipped = 'where' # why {n}\n# below {n}\n",
    "a dotted event": "[cases.expect]\nevent.name = 'page_view' # why {n}\nevent.data.value = 1.0\n",
    "an event": "[cases.expect.event]\nname = 'page_view' # why {n}\nevent_time = 1\n# mid {n}\n[cases.expect.event.user_data] # head {n}\n"
    "os = 'ios' # gone {n}\n'user_id' = 'u-2' # kept {n}\n",
    "an inline event": "[cases.expect]\npixel = 'strict' # px {n}\nevent = { name = 'page_view', user_data = { os = 'ios' } } # why {n}\n",
}  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("before", "after"), list(pairwise([*EXPECTS, next(iter(EXPECTS))])))
def test_every_comment_stays_and_the_second_time_changes_nothing(
    folder: Folder, before: str, after: str, end: str
) -> None:
    parts = ["\ufeff# top\nschema = '../lead.avsc' # schema\n\n"]
    for n, form in enumerate((before, after)):
        expect = EXPECTS[form].replace("{n}", str(n))
        inside = "" if expect.startswith("[") else expect
        behind = expect if expect.startswith("[") else ""
        parts.append(
            f"# case {n}\n[[cases]] # list {n}\nname = 'case {n}' # name {n}\n{inside}[cases.record] # record {n}\n"
        )
        parts.append(RECORD.replace("# who", f"# who {n}") + behind + f"# end {n}\n\n")
    text = "".join(parts).replace("\n", end)
    file = folder.write(text)
    assert folder.run("--update").code == 0
    written = file.read_bytes().decode()
    comments = [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line and line != "a#b"]
    assert [one for one in comments if one not in written] == []
    assert written.startswith("\ufeff# top")
    assert ("\r" in written) is (end == "\r\n")
    assert written.count(end) == written.count("\n")
    cases = tomllib.loads(written.removeprefix("\ufeff"))["cases"]
    assert [case["expect"]["event"]["dedupe_id"] for case in cases] == ["e-1", "e-1"]
    assert written.index("# end 0") < written.index("# case 1") < written.index("name 1")
    done = folder.run("--update")
    assert (done.code, done.out.splitlines()[-1]) == (0, "2 cases: 2 passed")
    assert file.read_bytes().decode() == written


def test_only_what_differs_is_changed(folder: Folder) -> None:
    head = "schema = '../lead.avsc'\n[[cases]]\nname = 'one'\n[cases.record]\n" + RECORD
    file = folder.write(head)
    folder.run("--update")
    written = file.read_text()
    file.write_text(written.replace('user_id = "user-1"\n', 'user_id    =   "u-2"  # the account\n'))
    assert folder.run("--update").code == 0
    assert file.read_text() == written.replace('user_id = "user-1"\n', 'user_id    =   "user-1"  # the account\n')


def test_a_dead_letter_keeps_the_form_of_its_line(folder: Folder) -> None:
    text = "schema = '../lead.avsc'\nexpect = { skipped = 'where' }   # no currency\n[record]\n" + RECORD
    file = folder.write(text.replace('"USD"', '""'))
    assert folder.run("--update").code == 0
    expected = 'expect = { dead_letter = "missing_field", field = "data.currency" }   # no currency\n'
    assert file.read_text() == text.replace('"USD"', '""').replace(
        "expect = { skipped = 'where' }   # no currency\n", expected
    )


def test_json_keeps_its_numbers_its_order_and_its_indentation(folder: Folder) -> None:
    record = json.dumps(a_lead())[1:].replace("30.0", "30.50e0")
    text = '{\n    "schema": "../lead.avsc",\n    "record": {"zip": "ü",' + record + ',\n    "name": "one"\n}\n'
    file = folder.write(text, "one.json")
    assert folder.run("--update").code == 0
    written = file.read_text()
    assert '"value": 30.50e0' in written
    assert '\n    "schema"' in written
    assert '"ü"' in written
    assert list(json.loads(written)) == ["schema", "record", "name", "expect"]
    assert folder.run("--update").code == 0
    assert file.read_text() == written


def test_what_is_broken_is_not_written(folder: Folder) -> None:
    broken = folder.write("schema = '../lead.avsc'\ntombstone = true\nexpect = { skiped = 'x' }\n", "a.toml")
    unread = folder.write("schema = '../none.avsc'\n[record]\nx = 1\n", "b.toml")
    good = folder.write("tombstone = true\n", "c.toml")
    texts = broken.read_text(), unread.read_text()
    done = folder.run("--update")
    assert done.code == 2
    assert (broken.read_text(), unread.read_text()) == texts
    assert tomllib.loads(good.read_text())["expect"] == {"skipped": "tombstone"}


def test_a_file_of_another_form_is_told_and_left_alone(folder: Folder) -> None:
    text = "cases = [{ name = 'x', tombstone = true }]\n"
    file = folder.write(text)
    done = folder.run("--update")
    assert (done.code, file.read_text()) == (2, text)
    assert "leads.toml: cases[0]: can't be updated as it is written; write each case as [[cases]]" in done.err


def test_a_file_that_can_not_be_written_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("tombstone = true\n")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    done = folder.run("--update")
    assert done.code == 2
    assert "leads.toml: the file can't be written: Permission denied" in done.err


# Property test: any file, any expectation

_names = st.sampled_from(["a", "b-c", '"d.e"', "'f#'", "expect", "cases"])
_values = st.sampled_from(
    ["1", "'x'", '"# no"', "[\n 1, # in\n 2\n]", "{ x = 1 }", '"""\n[x]\n"""', "2026-01-01", "1.5"]
)
_comments = st.sampled_from(["", " # c", "  #", "# [x]"])
_expectations = st.one_of(
    st.builds(lambda: Expectation(skipped="where")),
    st.builds(lambda text: Expectation(dead_letter="too_old", detail=text), st.text()),
    st.builds(
        lambda pixel, text, data: Expectation(
            pixel=pixel, event={"name": text, "data": data, "user_data": {"esi": "web", "os": text}}
        ),
        st.one_of(st.none(), st.just("main")),
        st.text(),
        st.one_of(
            st.none(), st.builds(lambda value: {"value": value}, st.floats(allow_nan=False, allow_infinity=False))
        ),
    ),
)


@st.composite
def _pairs(draw: st.DrawFn, names: st.SearchStrategy[str]) -> str:
    keys = draw(st.lists(names, max_size=3, unique=True))
    lines = [f"{draw(st.sampled_from(['', '  ']))}{key} = {draw(_values)}{draw(_comments)}\n" for key in keys]
    return "".join(lines) + draw(st.sampled_from(["", "\n", "# alone\n"]))


@st.composite
def _case_texts(draw: st.DrawFn) -> str:
    text = "[[cases]]" + draw(_comments) + "\n" + draw(_pairs(st.sampled_from(["name", '"d.e"', "x-y"])))
    expect = draw(st.sampled_from(list(EXPECTS.values())))
    tables = [f"[cases.{draw(st.sampled_from(['record', 'headers']))}]\n{draw(_pairs(_names))}"]
    if draw(st.booleans()):
        tables.append(f"[[cases.list]]\n{draw(_pairs(_names))}[[cases.list]]\n")
    if expect.startswith("["):
        tables.insert(draw(st.integers(0, len(tables))), expect)
    else:
        text += expect
    return text + "".join(tables)


@pytest.mark.slow
@settings(deadline=None, max_examples=40 if SHORT else 200, suppress_health_check=list(HealthCheck))
@given(st.lists(_case_texts(), min_size=1, max_size=3), st.data())
def test_any_file_is_updated_to_what_it_should_hold_or_not_at_all(texts: list[str], data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(["", "# top\n", "topic = 'x'\n"])) + "".join(texts)
    try:
        wanted: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    outcomes: dict[int | None, Expectation] = {
        at: data.draw(_expectations) for at in range(len(texts)) if data.draw(st.booleans())
    }
    for at, outcome in outcomes.items():
        wanted["cases"][at]["expect"] = expectation_as_table(outcome)
    written = updated(CaseFile(Path("cases.toml"), text, tomllib.loads(text)), outcomes)
    assert tomllib.loads(written) == wanted
    assert written.count("#") >= text.count("#"), "each comment is there"
    again = updated(CaseFile(Path("cases.toml"), written, tomllib.loads(written)), outcomes)
    assert tomllib.loads(again) == wanted


def test_text_that_can_not_be_changed_is_refused() -> None:
    with pytest.raises(CantBeUpdated):
        updated(CaseFile(Path("x.toml"), "cases = [{}]\n", {}), {0: Expectation(skipped="where")})
