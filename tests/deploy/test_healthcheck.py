"""The image's health check, run as the engine runs it; it reads the same address from the settings as the program."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stream_capi.healthcheck import address
from stream_capi.observe.admin_server import AdminServer
from tests.deploy.program import ROOT, admin_server, settings

TEXT = (ROOT / "deploy/compose/stream-capi.toml").read_text().split("[admin]")[0]


@pytest.fixture
async def server() -> AsyncIterator[AdminServer]:
    """An admin server on a free port."""
    server = admin_server()
    await server.start()
    yield server
    await server.stop()


async def exit_code(file: Path, **environ: str) -> int:
    command = [sys.executable, "-m", "stream_capi.healthcheck", str(file)]
    process = await asyncio.create_subprocess_exec(*command, env=environ, stdout=asyncio.subprocess.DEVNULL)
    return await process.wait()


async def test_it_asks_at_the_port_of_the_file(server: AdminServer, tmp_path: Path) -> None:
    file = tmp_path / "stream-capi.toml"
    file.write_text(f"{TEXT}[admin]\nport = {server.port}\n")
    assert await exit_code(file) == 0
    await server.stop()
    assert await exit_code(file) == 1


async def test_it_asks_at_the_port_of_the_environment_also_without_a_file(server: AdminServer, tmp_path: Path) -> None:
    assert await exit_code(tmp_path / "elsewhere.toml", STREAM_CAPI_ADMIN__PORT=str(server.port)) == 0


async def test_what_answers_and_is_no_live_member_fails(
    server: AdminServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.deploy.program.Nothing.alive", False)
    assert await exit_code(tmp_path / "none", STREAM_CAPI_ADMIN__PORT=str(server.port)) == 1


@pytest.mark.parametrize("admin", ["", '[admin]\nhost = "::1"\nport = 8080\n', '[admin]\nhost = "0.0.0.0"\n'])
@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"DEFAULT__ADMIN__HOST": "::", "DEFAULT__ADMIN__PORT": "1"},
        {"ADMIN__HOST": "10.0.0.7", "ADMIN__PORT": "2"},
        {"ADMIN__PORT": "2", "DEFAULT__ADMIN__HOST": "10.0.0.8"},
        {"ADMIN": '{"port": 9000}', "DEFAULT__ADMIN__HOST": "::"},
        {"ADMIN__port": "9001"},
    ],
)
def test_it_reads_the_address_as_the_program_does(admin: str, environ: dict[str, str], tmp_path: Path) -> None:
    environ = {f"STREAM_CAPI_{name}": text for name, text in environ.items()}
    loaded = settings(TEXT + admin, tmp_path, environ).admin
    host = "127.0.0.1" if loaded.host in ("::", "0.0.0.0") else loaded.host  # noqa: S104 -- what is configured
    assert address(tmp_path / "stream-capi.toml", environ) == (host, loaded.port)


def test_it_imports_nothing_of_the_program() -> None:
    names = (
        "import sys, stream_capi.healthcheck; print(*(name for name in sys.modules if name.startswith('stream_capi')))"
    )
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["stream_capi", "stream_capi.healthcheck"]


@pytest.mark.parametrize("text", ["[admin", "admin = 3\n", "[admin]\nport = 1\n\x00"])
def test_a_file_that_was_broken_after_the_start_ends_in_no_traceback(text: str, tmp_path: Path) -> None:
    file = tmp_path / "stream-capi.toml"
    file.write_text(text)
    assert address(file, {"STREAM_CAPI_ADMIN__HOST": "10.0.0.7", "STREAM_CAPI_ADMIN": "no table"}) == ("10.0.0.7", 9464)
