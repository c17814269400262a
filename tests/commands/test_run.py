"""What ``run`` asks of the interpreter and the C library before its threads begin."""

from __future__ import annotations

import subprocess
import sys

import pytest

_ARENAS = """
import ctypes, sys, threading
from stream_capi.cli.run import suit_the_interpreter

libc = ctypes.CDLL(None)
if not hasattr(libc, "malloc_stats"):
    sys.exit(77)
if sys.argv[1] == "spared":
    suit_the_interpreter()
both = threading.Barrier(2)

def allocate():
    kept = [bytes(600) for _ in range(1000)]
    both.wait()

thread = threading.Thread(target=allocate)
thread.start()
both.wait()
thread.join()
print(sys.getswitchinterval())
sys.stdout.flush()
libc.malloc_stats()
"""


@pytest.mark.parametrize(("how", "arenas", "seconds"), [("spared", 1, 0.05), ("not", 2, 0.005)])
def test_threads_share_one_arena_and_take_the_interpreter_seldom(how: str, arenas: int, seconds: float) -> None:
    done = subprocess.run([sys.executable, "-c", _ARENAS, how], capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip("another C library than glibc: it has no arenas to count")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(seconds)
    assert done.stderr.count("Arena ") == arenas, done.stderr
