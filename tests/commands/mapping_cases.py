"""Configurations with mapping cases, and ``stream-capi test`` run on them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w
import typer
from typer.testing import CliRunner

from stream_capi.cli import process
from stream_capi.cli.test import command
from stream_capi.errors import StreamCapiError
from tests.events.sources_and_records import SCHEMAS, lead

TIME = 1_767_225_600_000  # 2026-01-01
PIXELS = [
    {"name": "main", "pixel_id": "p-main", "api_key_env": "KEY_THAT_IS_NOT_THERE"},
    {"name": "strict", "pixel_id": "p-strict", "api_key_env": "KEY_THAT_IS_NOT_THERE", "profile": "restricted"},
]
DEAD_REGISTRY = {"url": "http://127.0.0.1:9/apis/ccompat/v7"}


class Done(NamedTuple):
    """How the command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def output(self) -> str:
        return self.out + self.err


def run(*words: str) -> Done:
    """Run the command in this process, printing errors as the console script does."""
    errors = io.StringIO()
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    code = done.exit_code
    if isinstance(done.exception, StreamCapiError):
        with contextlib.redirect_stderr(errors):
            code = int(process.print_error(done.exception))
    elif done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(code, done.stdout, done.stderr + errors.getvalue())


class Folder:
    """A configuration and its cases. The registry doesn't answer, and no API key is set."""

    def __init__(self, path: Path, *, sources: Sequence[Mapping[str, Any]] = (), **sections: Any) -> None:
        self.path = path
        self.config = path / "stream-capi.toml"
        self.cases = path / "cases"
        self.cases.mkdir()
        tables = {"schema_registry": DEAD_REGISTRY, "pixels": PIXELS, **sections}
        made = [
            {key: value for key, value in (_SOURCE | dict(one)).items() if value is not None} for one in sources or [{}]
        ]
        self.config.write_text(tomli_w.dumps(tables | {"sources": made}))
        for name in ("lead.avsc", "page_view.avsc"):
            (path / name).write_bytes((SCHEMAS / name).read_bytes())

    def write(self, text: str, name: str = "leads.toml") -> Path:
        """Write a file of cases."""
        file = self.cases / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
        return file

    def write_case(self, file: str = "one.json", /, **keys: Any) -> Path:
        """Write a file of one case, with a lead unless another record is given."""
        given = {"schema": "../lead.avsc"} | keys
        if not given.keys() & {"record", "hex", "base64", "file", "tombstone"}:
            given["record"] = a_lead()
        return self.write(json.dumps(given), file)

    def run(self, *words: str) -> Done:
        return run("--config", str(self.config), *words)

    def results(self, *words: str) -> list[dict[str, Any]]:
        """The cases' results, from ``--json``."""
        found: list[dict[str, Any]] = json.loads(self.run("--json", *words).out)["cases"]
        return found

    def outcome(self, **keys: Any) -> dict[str, Any]:
        """The expectation that ``--update`` writes for a case."""
        file = self.write_case(**keys)
        done = self.run("--update", str(file))
        assert done.code == 0, done.output
        found: dict[str, Any] = json.loads(file.read_text())["expect"]
        return found


_SOURCE: dict[str, Any] = {"topic": "leads", "event": "generate_lead", "pixel": "main"}


def a_lead(**fields: Any) -> dict[str, Any]:
    """The fields of a lead that can be sent."""
    return {name: value for name, value in lead(event_time=TIME, **fields).items() if value is not None}
