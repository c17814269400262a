"""``stream-capi`` with a limit on the threads that it can start. Patched in, since RLIMIT_NPROC does not limit root."""

from __future__ import annotations

import _thread
import os
import threading
from collections.abc import Callable
from typing import Any

from stream_capi.cli import main

_left = int(os.environ["CAPI_TEST_THREADS"])


def _if_any_is_left(start: Callable[..., Any]) -> Callable[..., Any]:
    def start_if_any_is_left(*given: Any) -> Any:
        global _left
        if not _left:
            raise RuntimeError("can't start new thread")
        _left -= 1
        return start(*given)

    return start_if_any_is_left


if __name__ == "__main__":
    _thread.start_new_thread = _if_any_is_left(_thread.start_new_thread)
    threading.Thread.start = _if_any_is_left(threading.Thread.start)  # type: ignore[method-assign]
    main()
