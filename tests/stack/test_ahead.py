"""A file of the broker's classes is made once; where it can't be made, brokers start without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stack import ahead
from tests.stack.process import ServerFailed


@pytest.fixture
def jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "release").write_text('JAVA_VERSION="25"')
    monkeypatch.setattr(ahead, "JAVA", tmp_path / "bin" / "java")
    jar = tmp_path / "kafka.jar"
    jar.write_bytes(b"")
    return [jar]


def write(option: str) -> None:
    Path(option.partition("=")[2]).write_bytes(b"classes")


def test_it_is_made_once_for_the_same_jars(jars: list[Path]) -> None:
    made: list[str] = []

    def run(option: str) -> None:
        made.append(option)
        write(option)

    (option,) = ahead.classes(jars, run)
    assert Path(option.removeprefix("-XX:AOTCache=")).read_bytes() == b"classes"
    assert ahead.classes(jars, run) == [option]
    assert len(made) == 1
    jars[0].write_bytes(b"another")
    assert ahead.classes(jars, run) != [option]
    assert len(made) == 2


def fails(option: str) -> None:
    raise ServerFailed("kafka was not ready")


@pytest.mark.parametrize("run", [fails, lambda option: None], ids=["no broker", "nothing written"])
def test_without_it_brokers_start_as_before(jars: list[Path], run: object) -> None:
    assert ahead.classes(jars, run) == []  # type: ignore[arg-type]  # both take the option


def test_beside_a_java_that_may_not_be_written_there_is_none(jars: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(folder: Path) -> None:
        raise PermissionError(folder)

    monkeypatch.setattr(ahead, "locked", denied)
    assert ahead.classes(jars, write) == []
