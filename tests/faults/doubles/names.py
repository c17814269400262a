"""``stream-capi`` with name resolution that a test controls: the endpoint's name resolves while a file exists."""

from __future__ import annotations

import os
import socket
from typing import Any

from stream_capi.cli import main

NAME = "capi.invalid"  # ``.invalid`` never resolves
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
