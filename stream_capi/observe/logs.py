"""Logging: lines of structlog and of every library go through one masking processor to standard error.

Nothing here raises into the code that logs, and nothing is written unmasked: if masking or rendering fails, a fixed line says
so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, TextIO

import orjson
import structlog

from stream_capi import limits
from stream_capi.observe import log_writer
from stream_capi.observe.masking import HIDDEN, keep_names, mask, place_of, scrub, scrub_library_text

WITHHELD = "log line withheld"
_OWN = "stream_capi"
_REPEAT_SECONDS = 60.0
_MOST_KINDS = 1_000
_LEVELS = {name: getattr(logging, name.upper()) for name in ("debug", "info", "warning", "error", "critical")}


class _LogOutput:
    """Where lines go, whatever their level. ``sys.stderr`` is asked for each time: it may be replaced."""

    def __init__(self, name: str = _OWN) -> None:
        self.name = name

    def line(self, text: str) -> None:
        # Standard error is closed or its reader is gone: drop the line and go on.
        try:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            pass

    debug = info = warning = warn = error = critical = exception = fatal = msg = line


class _Line:
    """The last and only processor: a masked line as text, for people where ``console`` is set, else as JSON."""

    console: structlog.dev.ConsoleRenderer | None = None

    def __call__(self, logger: Any, method: str, event: Mapping[str, Any]) -> str:
        level = {"exception": "error", "fatal": "critical", "warn": "warning"}.get(method, method)
        try:
            return self._render(mask(logger, level, event))
        except Exception:
            return orjson.dumps({"level": level, "event": WITHHELD}).decode()

    def _render(self, shown: dict[str, Any]) -> str:
        if self.console is None:
            return orjson.dumps(shown).decode()
        traceback = shown.pop("traceback", [])
        return "\n".join([str(self.console(None, "", shown)), *(f"    {line}" for line in traceback)])


_line = _Line()


class Repeats:
    """Rate limit: lets a few lines of a kind pass in a minute and counts the others.

    Safe in any thread: a race costs a line too many or a count too low.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kinds: dict[object, tuple[float, int]] = {}  # since when, and how many came since

    def before(self, kind: object) -> int | None:
        """How many were left out before this one; None where this one is left out."""
        now = time.monotonic()
        since, count = self._kinds.get(kind, (now, 0))
        if now - since >= _REPEAT_SECONDS:
            self._kinds[kind] = now, 1
            return max(0, count - self._most)
        if len(self._kinds) >= _MOST_KINDS:
            self._kinds.clear()
        self._kinds[kind] = since, count + 1
        return 0 if count < self._most else None


class _Libraries(logging.Handler):
    """Takes the records of the standard library's logging; of another library's warnings one a second on average."""

    def __init__(self) -> None:
        super().__init__()
        self._repeats = Repeats(60)

    def emit(self, record: logging.LogRecord) -> None:
        is_free = record.levelno < logging.WARNING or _is_own(record)
        repeated = 0 if is_free else self._repeats.before(record.name)
        if repeated is None:
            return
        try:
            event: dict[str, Any] = {"event": message_of(record), "exc_info": record.exc_info}
            if repeated:
                event["repeated"] = repeated
        except Exception:
            event = {"event": WITHHELD}
        out = _LogOutput(record.name)
        out.line(_line(out, record.levelname.lower(), event))


def _is_own(record: logging.LogRecord) -> bool:
    return record.name == _OWN or record.name.startswith(f"{_OWN}.")


def message_of(record: logging.LogRecord) -> str:
    """What a record says: numbers are put into its template, and texts only where this program wrote the template."""
    own = _is_own(record)

    def shown(value: object) -> object:
        if isinstance(value, (bool, int, float)):
            return value
        return scrub(value) if own and isinstance(value, str) else HIDDEN

    template, args = str(record.msg) if isinstance(record.msg, str) else HIDDEN, record.args
    if args:
        given = {key: shown(v) for key, v in args.items()} if isinstance(args, Mapping) else tuple(map(shown, args))
        with contextlib.suppress(TypeError, ValueError, KeyError):  # %d with a text in its place
            template = template % given
    return scrub(template) if own else scrub_library_text(template)


def configure(level: str = "info", format: str = "auto", names: Iterable[str] = ()) -> None:
    """Send every log line to standard error, from ``level`` (debug, info, warning, error) on.

    ``format`` is ``console``, ``json``, or ``auto``: console on a terminal, else one JSON object a line. Libraries are
    heard from warning on, and from ``level`` only where that is debug. ``names`` out of the settings are shown in full.
    May be called again.
    """
    keep_names(names)
    console = format == "console" or (format == "auto" and _on_terminal())
    _line.console = structlog.dev.ConsoleRenderer(colors=_on_terminal(), sort_keys=False) if console else None
    structlog.configure(
        processors=[_line],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_LogOutput,
        cache_logger_on_first_use=False,
    )
    own_level = _LEVELS[level]
    root = logging.getLogger()
    # Another handler would write the same records unmasked.
    root.handlers[:] = [_Libraries()]
    root.setLevel(own_level if own_level == logging.DEBUG else max(own_level, logging.WARNING))
    logging.getLogger(_OWN).setLevel(own_level)
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            logger.handlers[:] = []
            logger.propagate = True


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


_uncaught_repeats = Repeats(1)


def install_hooks(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Log every uncaught exception as one masked line: in a thread, a destructor, the event loop, or at the end."""
    sys.excepthook = _uncaught
    threading.excepthook = _in_thread
    sys.unraisablehook = _unraisable
    warnings.showwarning = _warned
    if loop is not None:
        loop.set_exception_handler(_in_loop)


def write_behind() -> None:
    """Write lines on a thread from now on, so that a blocked standard error doesn't block the event loop."""

    def notice(count: int) -> str:
        return _line(_LogOutput(), "warning", {"event": "log lines were dropped", "count": count}) + "\n"

    log_writer.write_behind(notice)


def _report(level: str, event: str, error: BaseException | None = None, every_time: bool = False) -> None:
    """Log without structlog, which would print the frames' variables before ``configure``. A line a minute for each kind."""
    short = limits.short_of(error) if error is not None else ""
    kind = (event, type(error), short, _place_of(error)) if error is not None else event
    repeated = 0 if every_time else _uncaught_repeats.before(kind)
    if repeated is None:
        return
    fields: dict[str, object] = {"event": event, "exc_info": error}
    if repeated:
        fields["repeated"] = repeated
    if short:
        fields["reason"] = short
    out = _LogOutput()
    out.line(_line(out, level, fields))


def _place_of(error: BaseException) -> object:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback and (traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    log_writer.finish()  # what comes now is written directly: no thread is to be relied on any more
    _report("critical", "a bug ended the program; what was under way stays uncommitted", error, every_time=True)


def _in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        _report("error", "a bug ended a thread", args.exc_value)


def _unraisable(args: Any) -> None:
    _report("error", "an exception that could not be raised", args.exc_value)


def _warned(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning's text may quote a value, and its line of source is of no use without it."""
    _report("warning", f"{category.__name__} from {place_of(filename)}:{lineno}")


def _in_loop(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log the exception alone: the context's message and reprs hold arguments of callbacks."""
    _report("error", "an unhandled exception in the event loop", context.get("exception"))
