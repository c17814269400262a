"""The image's health check: does the member in this container answer? ``python -m stream_capi.healthcheck FILE``.

The engine runs it each ten seconds, so it reads ``[admin]`` alone, and imports nothing of the program: the settings as a
whole take four times as long.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

_SECONDS = 2.0
_PREFIX = "STREAM_CAPI_"
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- not to listen on, but to ask


def address(file: Path, environ: Mapping[str, str]) -> tuple[str, int]:
    """Where to ask a member with this file and environment. Without the file: what the environment and the defaults say."""
    try:
        read = tomllib.loads(file.read_text("utf-8-sig")).get("admin", {})
    except (OSError, ValueError):  # also one that was broken after the start: the environment and the defaults are left
        read = {}
    variables = {
        name.removeprefix(_PREFIX).lower(): value for name, value in environ.items() if name.startswith(_PREFIX)
    }
    admin = _table(read) | _table(variables.get("admin"))

    def setting(key: str, default: str) -> str:
        beneath = variables.get(f"default__admin__{key}", default)
        return variables.get(f"admin__{key}", str(admin.get(key, beneath)))

    host = setting("host", "127.0.0.1")
    return "127.0.0.1" if host in _EVERY_ADDRESS else host, int(setting("port", "9464"))


def _table(given: object) -> dict[str, object]:
    """A table, as TOML has it or as a variable has it in JSON; an empty one where it is none."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return {}
    return given if isinstance(given, dict) else {}


def main() -> int:
    """Ask, and print what came of it, which the engine keeps: 0 where the member is alive, 1 otherwise."""
    host, port = address(Path(sys.argv[1]), os.environ)
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        # Not /readyz: a member that is held or waits for Kafka is not mended by a restart.
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"{host}, port {port}: {error or type(error).__name__}")
        return 1
    print(f"{host}, port {port}: {status}")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
