"""The stress run names every failed test of a round, and succeeds only if every round ran tests and all passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress import Round, held, main, read_report


@pytest.mark.slow
def test_a_round_with_a_failing_test_ends_with_1_and_names_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    suite = tmp_path / "test_two.py"
    suite.write_text("def test_well(): pass\ndef test_badly(): assert False\n")

    ended = main(["--times", "1", "--loops", "0", "--marked", "", "--rootdir", str(tmp_path), str(suite)])

    assert ended == 1
    assert "round 1: 2 tests, 1 failed, pytest ended with 1" in capfd.readouterr().out


@pytest.mark.repeat(of="test_a_round_with_a_failing_test_ends_with_1_and_names_it")
@pytest.mark.slow
def test_rounds_of_passing_tests_end_with_0(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    suite = tmp_path / "test_one.py"
    suite.write_text("def test_well(): pass\n")

    assert main(["--times", "2", "--loops", "1", "--marked", "", "--rootdir", str(tmp_path), str(suite)]) == 0
    assert "round 2: 1 tests, 0 failed" in capfd.readouterr().out


@pytest.mark.parametrize(
    "rounds",
    [
        [],
        [Round(0, 0, (), 1.0, 1.0)],
        [Round(0, 3, (), 1.0, 1.0), Round(1, 3, ("a::b",), 1.0, 1.0)],
        [Round(2, 3, (), 1.0, 1.0)],
    ],
    ids=["no round", "a round without tests", "a failure in a later round", "pytest was interrupted"],
)
def test_what_does_not_hold(rounds: list[Round]) -> None:
    assert not held(rounds)


def test_a_report_that_was_never_written_has_no_tests(tmp_path: Path) -> None:
    assert read_report(tmp_path / "report.xml") == (0, ())
