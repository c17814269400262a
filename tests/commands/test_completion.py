"""Shell completion: the protocol of each shell's script, and the Tab key in a real bash."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream_capi.cli import COMMANDS

_PROGRAM = Path(sys.executable).parent / "stream-capi"
_LOADED = """
import sys
from stream_capi.cli import main
sys.argv = ["stream-capi"]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
BASH = shutil.which("bash")


def environment(shell: str, words: list[str]) -> dict[str, str]:
    """The environment that a shell's completion script sets; the last word is incomplete."""
    line = " ".join(["stream-capi", *words])
    return {
        "PATH": f"{_PROGRAM.parent}{os.pathsep}{os.defpath}",
        "_STREAM_CAPI_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": "\n".join(["stream-capi", *words]),
        "COMP_CWORD": str(len(words)),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }


def asked(shell: str, *words: str) -> str:
    """The program's answer to a shell."""
    done = subprocess.run(
        [_PROGRAM], env=environment(shell, list(words)), check=True, capture_output=True, text=True, timeout=60
    )
    assert not done.stderr
    return done.stdout


def offered(*words: str) -> list[str]:
    """The completions offered to bash for the last word."""
    return [line for line in asked("bash", *words).splitlines() if line]


@pytest.mark.slow
def test_all_commands_are_offered_in_the_order_of_the_help() -> None:
    assert offered("") == list(COMMANDS)


@pytest.mark.slow
def test_names_and_summaries_are_offered_without_importing_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED], env=environment("fish", ["re"]), capture_output=True, text=True, timeout=60
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [name for name, _ in lines] == ["replay", "reset"]
    assert all(summary and COMMANDS[name].summary.startswith(summary.rstrip(".")) for name, summary in lines)
    modules = set(done.stderr.split())
    assert "stream_capi.cli" in modules
    assert not {f"stream_capi.cli.{command.module}" for command in COMMANDS.values()} & modules
    assert not {"aiohttp", "confluent_kafka", "fastavro", "numpy"} & modules


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (["--v"], ["--version"]),
        (["mock-endpoint", "--au"], ["--authorization"]),
        (["status", "--config", "capi.toml", "--w"], ["--watch"]),
        (["dead-letters", ""], ["list", "show", "redrive", "purge"]),
        (["dead-letters", "list", "--config", "capi.toml", "--code", "to"], ["too_old", "too_large"]),
        (["mock-endpoint", "--authorization", "r"], ["raw"]),
        (["init", "--event", ""], ["page_view", "generate_lead"]),
        (["run", "--config", ""], []),  # the shell itself completes file names
    ],
    ids=lambda words: " ".join(words),
)
def test_options_and_values_of_a_command_are_offered(words: list[str], offers: list[str]) -> None:
    assert offered(*words) == offers


@pytest.mark.repeat(of="test_each_shell_has_a_script")
@pytest.mark.slow
def test_each_shell_has_its_form() -> None:
    assert asked("zsh", "check").startswith('_arguments \'*: :(("check":"Check configuration')
    assert asked("zsh", "run", "--config", "").strip() == "_files"
    assert asked("fish", "check").startswith("check\tCheck configuration")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(shell: str) -> None:
    environ = environment(shell, []) | {"_STREAM_CAPI_COMPLETE": f"source_{shell}"}
    done = subprocess.run([_PROGRAM], env=environ, check=True, capture_output=True, text=True, timeout=60)
    assert f"_STREAM_CAPI_COMPLETE=complete_{shell}" in done.stdout


@pytest.mark.repeat(of="test_options_and_values_of_a_command_are_offered")
@pytest.mark.skipif(BASH is None, reason="there is no bash")
@pytest.mark.slow
def test_a_key_completes_in_a_real_bash(tmp_path: Path) -> None:
    """Install the completion as docs/commands.md says, and use it."""
    assert BASH is not None
    environ = {
        "PATH": f"{_PROGRAM.parent}{os.pathsep}{os.defpath}", "HOME": str(tmp_path), "TERM": "dumb", "PS1": "$ "
    }  # fmt: skip
    install = [BASH, "--norc", "-c", f"{_PROGRAM} --install-completion; true"]
    done = subprocess.run(install, env=environ, check=True, capture_output=True, text=True, timeout=60)
    assert "bash completion installed" in done.stdout, done.stderr
    ours, its = pty.openpty()
    try:
        with subprocess.Popen(
            [BASH, "--rcfile", str(tmp_path / ".bashrc"), "-i"], stdin=its, stdout=its, stderr=its, env=environ,
            cwd=tmp_path, start_new_session=True,
        ) as bash:  # fmt: skip
            os.close(its)
            try:
                os.write(ours, b"stream-capi mock-e\t")
                assert seen(ours, "stream-capi mock-endpoint ")
                os.write(ours, b"--sc\t")
                assert seen(ours, "--script ")
            finally:
                bash.kill()
    finally:
        os.close(ours)


def seen(terminal: int, text: str, seconds: float = 30) -> str:
    """What a terminal shows, up to ``text``, without escape sequences."""
    os.set_blocking(terminal, False)
    shown, deadline = "", time.monotonic() + seconds
    while text not in shown:
        assert time.monotonic() < deadline, f"{text!r} is not in {shown!r}"
        try:
            shown += os.read(terminal, 4096).decode(errors="replace").replace("\a", "")
        except BlockingIOError:
            time.sleep(0.02)
    return shown
