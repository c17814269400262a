"""The image's health check: does the member in this container answer? ``python -m stream_capi.healthcheck FILE``.

The engine runs it each ten seconds, so it reads ``[admin]`` alone, and imports nothing of the program: the settings as a
whole take four times as long.
"""

from __future__ import annotations

import http.client
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

_SECONDS = 2.0
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- not to listen on, but to ask


def address(file: Path, environ: Mapping[str, str]) -> tuple[str, int]:
    """Where to ask a member with this file and environment. Without the file: what the environment and the defaults say."""
    try:
        admin = tomllib.loads(file.read_text("utf-8-sig")).get("admin", {})
    except OSError:
        admin = {}

    def setting(key: str, default: str) -> str:
        variable = f"ADMIN__{key.upper()}"
        beneath = environ.get(f"STREAM_CAPI_DEFAULT__{variable}", default)
        return environ.get(f"STREAM_CAPI_{variable}", str(admin.get(key, beneath)))

    host = setting("host", "127.0.0.1")
    return "127.0.0.1" if host in _EVERY_ADDRESS else host, int(setting("port", "9464"))


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
