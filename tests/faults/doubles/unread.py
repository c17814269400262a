"""``stream-capi`` whose standard error is a full pipe that nobody reads."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    out, into = os.pipe()
    os.set_inheritable(out, True)  # keep the read end open: the reader is stuck, not gone
    os.set_blocking(into, False)
    try:
        while True:
            os.write(into, b"x" * 65_536)
    except BlockingIOError:
        os.set_blocking(into, True)
    os.dup2(into, 2)
    os.execv(sys.executable, [sys.executable, "-m", "stream_capi", *sys.argv[1:]])  # noqa: S606 -- its own arguments
