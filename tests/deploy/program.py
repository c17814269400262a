"""The program as documents and deployment files must describe it: its commands and options, settings, admin server."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stream_capi import config
from stream_capi.cli import COMMANDS, load
from stream_capi.observe.admin_server import AdminServer
from stream_capi.observe.metrics import Metrics

ROOT = Path(__file__).parents[2]
CONSOLE_SCRIPT = "stream-capi"


def options_by_command() -> dict[str, frozenset[str]]:
    """The long options of each command; a subcommand's under its full name."""
    found: dict[str, frozenset[str]] = {}
    for name in COMMANDS:
        command: Any = load(name)
        inner = {f"{name} {sub}": one for sub, one in getattr(command, "commands", {}).items()} or {name: command}
        for full, one in inner.items():
            shown = [parameter for parameter in one.params if not parameter.hidden]
            found[full] = frozenset(opt for parameter in shown for opt in parameter.opts if opt.startswith("--"))
    return found


def parse(arguments: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Parse a command line with the program's own parser, without running it; return the command and its parameters.

    Raises KeyError for an unknown command, and the parser's error for arguments that the command refuses.
    """
    names, rest = list(arguments[:1]), list(arguments[1:])
    command: Any = load(arguments[0])
    while rest and hasattr(command, "commands"):
        command = command.commands[rest[0]]
        names.append(rest.pop(0))
    return " ".join(names), dict(command.make_context(" ".join(names), rest).params)


def settings(text: str, folder: Path, environ: Mapping[str, str] | None = None) -> config.Settings:
    """The settings of a TOML text, overridden by ``environ``, without reading keys. Raises ConfigurationError."""
    file = folder / "stream-capi.toml"
    file.write_text(text)
    return config.load(file, environ or {}, keys=False)


def admin_server(port: int = 0) -> AdminServer:
    """The real admin server, of a healthy member with an empty status."""
    return AdminServer("127.0.0.1", port, Metrics([]), Nothing())


class Nothing:
    """The state of a healthy member."""

    alive = True

    def not_ready(self) -> list[str]:
        return []

    def status(self) -> Any:
        return {}


def pyproject() -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
