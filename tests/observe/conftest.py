"""Logging is global to the process: a test that configures it restores the former state."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import structlog

from stream_capi.observe import logs


@pytest.fixture
def own_logging() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("stream_capi")
    before = list(root.handlers), root.level, own.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning
    yield
    root.handlers[:], root.level, own.level = before
    logging.getLogger().manager._clear_cache()  # type: ignore[attr-defined]  # level was assigned without setLevel
    sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning = hooks
    logs._line.console = None
    structlog.reset_defaults()
