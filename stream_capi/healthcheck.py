"""The image's health check: does the member in this container answer? ``python -m stream_capi.healthcheck FILE``.

The container engine runs it every ten seconds, so it reads ``[admin]`` alone and imports nothing of the program: reading
all settings takes four times as long.
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
    """The admin server's address by this file and environment. Without the file: by the environment and the defaults."""
    try:
        read = tomllib.loads(file.read_text("utf-8-sig")).get("admin", {})
    except (OSError, ValueError):  # missing, or made invalid after the start: the environment and the defaults are left
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
    """A table from TOML, or from a variable that holds it as JSON; empty if it is neither."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return {}
    return given if isinstance(given, dict) else {}


def main() -> int:
    """Query the member, and print the result, which the engine keeps. Returns 0 if the member is alive, otherwise 1."""
    host, port = address(Path(sys.argv[1]), os.environ)
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS)
    try:
        # Not /readyz: a restart doesn't help a member that is held or waits for Kafka.
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"{host}, port {port}: {error or type(error).__name__}")
        return 1
    print(f"{host}, port {port}: {status}")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
