"""``stream-capi`` on a machine whose name service a test governs: the endpoint's name is known while a file is there."""

from __future__ import annotations

import os
import socket
from typing import Any

from stream_capi.cli import main

NAME = "capi.invalid"  # a name that nobody can have
FILE = "CAPI_TEST_NAMES"

_ask = socket.getaddrinfo


def _getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
    if host == NAME:
        if not os.path.exists(os.environ[FILE]):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        host = "127.0.0.1"
    return _ask(host, *args, **options)


if __name__ == "__main__":
    socket.getaddrinfo = _getaddrinfo
    main()
