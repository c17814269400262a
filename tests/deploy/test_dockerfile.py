"""The Dockerfile agrees with the package that the image contains. It is read, not built, so no engine is needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stream_capi.config.settings import AdminSection
from tests.deploy.dockerfile import stages
from tests.deploy.program import CONSOLE_SCRIPT, ROOT, parse, pyproject, settings

STAGES = stages(ROOT / "Dockerfile")
BUILD, FINAL = STAGES
COPIED = [word for copy in BUILD.all("COPY") for word in copy.words[:-1]]
INSTALLS = re.findall(r"pip (?:install|wheel)[^&]*", " && ".join(run.text for run in BUILD.all("RUN")))


def test_each_base_is_named_with_its_version() -> None:
    for stage in STAGES:
        name, _, tag = stage.image.partition(":")
        assert re.fullmatch(r"\d+\.\d+-slim-(bookworm|trixie)(@sha256:[0-9a-f]{64})?", tag), stage.image
        assert name == "python"


def test_the_base_is_named_in_one_place() -> None:
    """So a digest that is added or updated there applies to both stages."""
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${PYTHON}", "${PYTHON}"]
    assert len(re.findall(r"^ARG PYTHON=python:", text, re.MULTILINE)) == 1


def test_the_python_is_one_that_the_package_supports() -> None:
    versions = {stage.image.split(":")[1].split("-")[0] for stage in STAGES}
    (version,) = versions  # one version: a virtual environment doesn't work with another
    assert f"Programming Language :: Python :: {version}" in pyproject()["project"]["classifiers"]


@pytest.mark.parametrize("source", COPIED)
def test_what_is_copied_is_there_and_let_through(source: str) -> None:
    path = Path(source)
    assert (ROOT / path).exists()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert f"!{path}" in ignored


def test_nothing_else_is_let_through() -> None:
    """A key, a dump or a virtual environment in the checkout must not get into a layer."""
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert let_through == {str(Path(source)) for source in COPIED}


def test_all_that_the_wheel_is_made_of_is_copied() -> None:
    project = pyproject()
    hatch = project["tool"]["hatch"]
    wheel = hatch["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {*wheel["packages"], *wheel["force-include"], hatch["version"]["path"].split("/")[0]}
    assert needed <= {str(Path(source)) for source in COPIED}


def test_nothing_is_installed_without_a_digest() -> None:
    assert INSTALLS
    for install in INSTALLS:
        hashed = "--require-hashes" in install
        local = "--no-deps" in install and ("--no-index" in install or "--no-build-isolation" in install)
        assert hashed or local, install


def test_what_is_installed_is_what_was_locked() -> None:
    files = [file for install in INSTALLS for file in re.findall(r"--requirement (\S+)", install)]
    assert files == ["requirements/runtime.lock", "requirements/build.lock"]
    dev = (ROOT / "requirements/dev.lock").read_text()
    for file in files:
        locked = re.findall(r"^(\S+==\S+) \\\n((?:    --hash=\S+(?: \\)?\n)+)", (ROOT / file).read_text(), re.MULTILINE)
        assert len(locked) > 4
        for requirement, digests in locked:
            assert f"{requirement} \\\n{digests}" in dev, f"{file}: {requirement} is not what the tests run with"
    (build_requirement,) = pyproject()["build-system"]["requires"]
    assert f"\n{build_requirement}==" in "\n" + (ROOT / "requirements/build.lock").read_text()


def test_it_runs_as_a_user_without_rights_by_number() -> None:
    """By number, since Kubernetes can't verify that a user name isn't root's."""
    user = FINAL.the("USER").text
    number, group = user.split(":")
    assert int(number) >= 10_000
    assert int(group) >= 10_000
    (made,) = (run.text for run in FINAL.all("RUN"))
    assert f"--uid {number}" in made
    assert f"--gid {group}" in made
    assert FINAL.instructions.index(FINAL.the("USER")) > FINAL.instructions.index(FINAL.all("RUN")[-1])


def test_only_the_environment_comes_from_the_build() -> None:
    assert [copy.text for copy in FINAL.all("COPY")] == ["--from=build /venv /venv"]
    assert BUILD.name == "build"
    assert not FINAL.all("ADD")
    assert "/venv/bin" in environment()["PATH"]


def environment() -> dict[str, str]:
    return dict(word.split("=", 1) for word in FINAL.the("ENV").words)


def test_nothing_is_written_at_run_time() -> None:
    assert environment()["PYTHONDONTWRITEBYTECODE"] == "1"
    assert not FINAL.all("VOLUME")
    assert not FINAL.all("WORKDIR")


def test_the_settings_in_its_environment_are_settings_beneath_the_file(tmp_path: Path) -> None:
    """A container listens on all addresses, unless the file or a variable says otherwise."""
    text, _ = (ROOT / "deploy/compose/stream-capi.toml").read_text().split("[admin]")
    assert settings(text, tmp_path, environment()).admin.host == "::"
    file = f'{text}[admin]\nhost = "127.0.0.1"\n'
    assert settings(file, tmp_path, environment()).admin.host == "127.0.0.1"
    assert settings(file, tmp_path, environment() | {"STREAM_CAPI_ADMIN__HOST": "::1"}).admin.host == "::1"


def test_the_entry_point_is_the_console_script_and_its_default_a_command() -> None:
    assert FINAL.the("ENTRYPOINT").words == [CONSOLE_SCRIPT]
    assert CONSOLE_SCRIPT in pyproject()["project"]["scripts"]
    assert parse(FINAL.the("CMD").words)[0] == "run"


def test_a_stop_asks_for_an_orderly_end() -> None:
    assert FINAL.the("STOPSIGNAL").text == "SIGTERM"
    assert FINAL.the("ENTRYPOINT").text.startswith("[")  # the exec form: a shell wouldn't pass the signal on


def test_the_port_is_the_admin_servers() -> None:
    assert FINAL.the("EXPOSE").text == str(AdminSection().port)


def test_the_health_check_reads_the_file_that_the_program_reads() -> None:
    assert FINAL.the("HEALTHCHECK").words == ["python", "-m", "stream_capi.healthcheck", FINAL.the("CMD").words[-1]]
