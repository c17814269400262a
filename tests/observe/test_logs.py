"""Everything written to standard error is masked, whatever writes it."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from typing import Any

import pytest
import structlog

from stream_capi.observe import logs
from tests.observe import canaries

pytestmark = pytest.mark.usefixtures("own_logging")
log = structlog.get_logger("stream_capi")


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert out == "", "log lines go to standard error"
    assert not canaries.leaked(err)
    return [json.loads(line) for line in err.splitlines()]


def test_a_line_is_one_json_object_where_no_terminal_reads_it(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "auto")
    log.info("started", version="0.1.0", group="stream-capi")
    (line,) = lines(capsys)
    assert list(line) == ["timestamp", "level", "logger", "event", "version", "group"]
    assert (line["level"], line["event"], line["group"]) == ("info", "started", "stream-capi")


def test_a_line_is_for_people_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs.configure("info", "auto")
    log.error("held", subject="main", reason="401", email=canaries.EMAIL)
    text = terminal.getvalue()
    assert "held" in text
    assert "401" in text
    assert not text.startswith("{")
    assert not canaries.leaked(text)


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_lines_below_the_level_are_not_written(level: str, heard: int, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level, "json")
    for method in ("debug", "info", "warning", "error"):
        getattr(log, method)(method)
    assert len(lines(capsys)) == heard


def test_libraries_are_heard_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("httpx").info("a request")
    logging.getLogger("aiohttp.server").warning("a complaint")
    logging.getLogger("stream_capi.librdkafka").info("of its own")
    assert [(line["logger"], line["event"]) for line in lines(capsys)] == [
        ("aiohttp.server", "a complaint"),
        ("stream_capi.librdkafka", "of its own"),
    ]


def test_a_librarys_numbers_are_shown_and_its_texts_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "json")
    library = logging.getLogger("httpx")
    library.info('HTTP Request: %s %s "%s %d"', "GET", f"http://x/?a={canaries.QUERY}", "HTTP/1.1", 200)
    library.info("after %(seconds).1f s for %(who)s", {"seconds": 1.25, "who": canaries.TOKEN})
    library.info("not a number: %d", canaries.TOKEN)
    library.info({"email": canaries.EMAIL})
    library.info(f"sent '{canaries.TOKEN}' to {canaries.EMAIL}")
    assert [line["event"] for line in lines(capsys)] == [
        "HTTP Request: … … …",
        "after 1.2 s for …",
        "not a number: %d",
        "…",
        "sent … to …",
    ]


@pytest.mark.parametrize("form", canaries.FORMS.values(), ids=canaries.FORMS)
@pytest.mark.parametrize("logger", ["asyncio", "stream_capi.librdkafka"])
def test_no_form_of_personal_data_or_key_passes_in_a_record(
    form: str, logger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug", "json")
    logging.getLogger(logger).error(form)
    logging.getLogger(logger).error("%s: %r", form, form)
    logging.getLogger(logger).error("at", extra={"email": form}, stack_info=True)
    assert len(lines(capsys)) == 3


def test_a_handler_that_a_library_has_brought_writes_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("some.library")
    library.propagate = False
    library.addHandler(logging.StreamHandler(sys.stderr))
    logs.configure("info", "json")
    library.error("asked for %s", canaries.EMAIL)
    assert len(lines(capsys)) == 1


def test_an_exceptions_text_and_variables_are_in_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    email = canaries.EMAIL
    try:
        raise ValueError(email)
    except ValueError:
        log.exception("failed")
        logging.getLogger("aiohttp.server").exception("Error handling request from %s", email)
    for line in lines(capsys):
        assert line["error"] == "ValueError"
        assert any("test_logs.py" in place for place in line["traceback"])


def test_a_line_whose_masking_fails_is_withheld(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> dict[str, Any]:
        raise RuntimeError(canaries.EMAIL)

    logs.configure("info", "json")
    monkeypatch.setattr(logs, "mask", broken)
    log.error("oh", reason=canaries.EMAIL)
    logging.getLogger("aiohttp").error("oh %s", canaries.EMAIL)
    monkeypatch.setattr(logs, "message_of", broken)
    logging.getLogger("aiohttp").error("oh %s", canaries.EMAIL)
    assert lines(capsys) == [{"level": "error", "event": "log line withheld"}] * 3


def test_a_line_that_cannot_be_written_as_json_is_withheld(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    log.info("many", count=2**70)
    assert lines(capsys) == [{"level": "info", "event": "log line withheld"}]


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["gone", "closed"])
def test_logging_without_standard_error_raises_nothing(
    stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stream is not None:
        stream.close()
    logs.configure("info", "json")
    monkeypatch.setattr(sys, "stderr", stream)
    log.info("to nobody")
    logging.getLogger("aiohttp").error("to nobody")


@pytest.mark.slow
async def test_what_nobody_took_on_the_loop_is_told_without_its_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    def callback(email: str) -> None:
        raise ValueError(email)

    async def task(email: str) -> None:
        raise KeyError(email)

    loop = asyncio.get_running_loop()
    logs.install_hooks(loop)
    loop.call_soon(callback, canaries.EMAIL)
    forgotten = asyncio.create_task(task(canaries.EMAIL))
    await asyncio.wait([forgotten])
    del forgotten
    gc.collect()
    await asyncio.sleep(0)
    assert {line["error"] for line in lines(capsys)} == {"ValueError", "KeyError"}


def test_a_threads_end_by_a_bug_is_told_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise ValueError(canaries.EMAIL)

    logs.install_hooks()
    thread = threading.Thread(target=work, name=canaries.EMAIL)
    thread.start()
    thread.join()
    (line,) = lines(capsys)
    assert (line["event"], line["error"]) == ("a bug ended a thread", "ValueError")


def test_a_destructors_exception_and_a_warning_are_told_without_their_text(capsys: pytest.CaptureFixture[str]) -> None:
    class Fragile:
        def __del__(self) -> None:
            raise ValueError(canaries.EMAIL)

    logs.install_hooks()
    fragile = Fragile()
    del fragile
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = logs._warned
        warnings.warn(canaries.EMAIL, UserWarning, stacklevel=1)
    first, second = lines(capsys)
    assert first["error"] == "ValueError"
    assert second["event"].startswith("UserWarning from ")


@pytest.mark.slow
def test_a_bug_that_ends_the_program_shows_no_data() -> None:
    program = f"""
from stream_capi.observe import logs
logs.install_hooks()
def send(email):
    raise RuntimeError(email)
send("{canaries.EMAIL}")
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert not canaries.leaked(ended.stdout + ended.stderr)
    line = json.loads(ended.stderr)
    assert (line["level"], line["error"]) == ("critical", "RuntimeError")
    assert line["traceback"][-1].endswith(" in send")


async def test_the_same_exception_on_the_loop_is_a_line_a_minute_with_the_count_of_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("stream_capi.observe.logs.time.monotonic", lambda: now[0])

    def out_of_files() -> None:
        raise OSError(24, "Too many open files")

    def other() -> None:
        raise ValueError(canaries.EMAIL)

    loop = asyncio.get_running_loop()
    logs.install_hooks(loop)
    for _ in range(1_000):
        loop.call_soon(out_of_files)
    loop.call_soon(other)
    await asyncio.sleep(0)
    first, second = lines(capsys)
    assert (first["error"], second["error"]) == ("OSError", "ValueError")
    assert "limit of open files" in first["reason"]
    now[0] += 60
    loop.call_soon(out_of_files)
    await asyncio.sleep(0)
    (again,) = lines(capsys)
    assert again["repeated"] == 999


def test_a_librarys_flood_is_a_line_a_second_on_average(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    logs.configure("info", "json")
    monkeypatch.setattr("stream_capi.observe.logs.time.monotonic", lambda: now[0])
    for number in range(600):
        now[0] = 1000.0 + number / 5
        logging.getLogger("aiohttp.client").warning("Unclosed %d", number)
        logging.getLogger("stream_capi").warning("of its own")
    loggers = [line["logger"] for line in lines(capsys)]
    assert loggers.count("aiohttp.client") <= 121
    assert loggers.count("stream_capi") == 600
