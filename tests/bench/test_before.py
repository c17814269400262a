"""The program of an earlier commit, checked out of the repository to be compared with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import before
from benchmarks.stack import ROOT

AUTHOR = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *AUTHOR, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def committed(folder: Path, text: str) -> str:
    for name in ("stream_capi", "schemas"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "stream_capi" / "__init__.py").write_text(text)
    (folder / "schemas" / "lead.avsc").write_text("{}")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "One more")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    return folder


def test_a_process_started_for_an_earlier_commit_imports_that_commits_program(repository: Path) -> None:
    first = committed(repository, "AT = 'first'\n")
    committed(repository, "AT = 'second'\n")
    with before.tree(repository, first) as at:
        assert (at / "stream_capi" / "__init__.py").read_text() == "AT = 'first'\n"
        assert before.found_in(at, "stream_capi") == at / "stream_capi" / "__init__.py"
        assert before.found_in(ROOT, "stream_capi") == ROOT / "stream_capi" / "__init__.py"


@pytest.mark.parametrize("has_worker", [True, False])
def test_a_commit_is_worked_by_its_own_worker_where_it_has_one(repository: Path, has_worker: bool) -> None:
    """A worker calls the program's functions, which may have other names in a later commit."""
    worker = Path(*before.WORKER.split(".")).with_suffix(".py")
    for file in (worker if has_worker else worker.with_name("other.py"), Path("benchmarks", "__init__.py")):
        (repository / file).parent.mkdir(parents=True, exist_ok=True)
        (repository / file).write_text("")
    with before.tree(repository, committed(repository, "")) as at:
        assert before.found_in(at, before.WORKER) == (at if has_worker else ROOT) / worker


@pytest.mark.parametrize("shallow", [True, False])
def test_without_the_history_the_error_names_the_commit_and_says_how_to_get_it(
    repository: Path, tmp_path: Path, shallow: bool
) -> None:
    first = committed(repository, "AT = 'first'\n")
    committed(repository, "AT = 'second'\n")
    clone = tmp_path / "clone"
    if shallow:
        git(tmp_path, "clone", "--quiet", "--depth", "1", repository.as_uri(), str(clone))
    else:
        clone.mkdir()  # an unpacked archive
    with pytest.raises(before.NoHistory, match=f"{first[:12]}(.|\n)*git fetch --unshallow"), before.tree(clone, first):
        pass


def test_without_git_the_error_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = committed(repository, "AT = 'first'\n")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(before.NoHistory, match="git is not installed"), before.tree(repository, first):
        pass


def test_the_commit_before_is_one_of_this_history() -> None:
    if not (ROOT / ".git").exists() or git(ROOT, "rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("there is no history here")
    git(ROOT, "merge-base", "--is-ancestor", before.COMMIT, "HEAD")
