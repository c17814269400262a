"""``stream-capi`` on a system that lets it start so many threads and no more: root is bound by no RLIMIT_NPROC."""

from __future__ import annotations

import os
import threading
from typing import Any

from stream_capi.cli import main

_left = int(os.environ["CAPI_TEST_THREADS"])
_start = threading.Thread.start


def _start_if_any_is_left(self: threading.Thread) -> Any:
    global _left
    if not _left:
        raise RuntimeError("can't start new thread")
    _left -= 1
    return _start(self)


if __name__ == "__main__":
    threading.Thread.start = _start_if_any_is_left  # type: ignore[method-assign]
    main()
