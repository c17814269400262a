"""``python -m stream_capi`` and the console script. SIGINT gets its action before anything else is imported."""

from __future__ import annotations

import signal


def main() -> None:
    """Run a command. An interrupt while the rest is imported ends the process at once, without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from stream_capi.cli import main as command

    command()


if __name__ == "__main__":
    main()
