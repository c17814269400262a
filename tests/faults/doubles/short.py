"""``stream-capi`` with limits of open files from environment variables."""

from __future__ import annotations

import os
import resource
import sys

if __name__ == "__main__":
    limits = int(os.environ["CAPI_TEST_SOFT"]), int(os.environ["CAPI_TEST_HARD"])
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    os.execv(sys.executable, [sys.executable, "-m", "stream_capi", *sys.argv[1:]])  # noqa: S606 -- its own arguments
