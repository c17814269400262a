"""Whatever listens at the address of a member, ``status`` prints its state or a one-line error within seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from stream_capi.operations.group_status import ask_member

WAITS = {"offset": 1, "seconds": 0.5, "why": "held"}
PARTITION = {"topic": "t", "partition": 0, "stopped": None, "oldest": WAITS}
RULE = {"code": "missing_field", "field": "event_time", "source": "", "count": 3}
HELD = {"subject": "main", "reason": "key", "what_to_do": "mend it"}
COUNT = {"topic": "t", "reason": "tombstone", "count": 3}
WORKER = {"worker": 1, "answers": True}
STATUS: dict[str, Any] = {"group": "g", "partitions": [PARTITION], "held": [HELD], "notices": [HELD]}
ANY: tuple[Any, ...] = (5, None, [5], {})
NEWER: dict[str, Any] = {
    "clients": ["c"], "workers": [WORKER], "skipped": [COUNT], "left_out": [COUNT], "lag": {"member": 3},
    "held": [HELD | {"pixel": "main", "detail": "", "rejected": [RULE]}],
}  # fmt: skip
ODD: tuple[Any, ...] = (5, None, True, "x", [], [5], {}, [[]], [{}], [None])


@contextmanager
def answering(*pieces: bytes, pause: float = 0.0, again: int = 1) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                for _ in range(again):
                    for piece in pieces:
                        self.wfile.write(piece)
                    time.sleep(pause)

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def fault_of(*pieces: bytes, **options: Any) -> str:
    with answering(*pieces, **options) as address:
        asked = ask_member(address, "g")
    assert asked.status is None
    assert "\n" not in asked.fault
    return asked.fault


def test_a_status_is_taken() -> None:
    changes: list[dict[str, Any]] = [{}, {"partitions": []}, {"held": [], "notices": []}]
    for change in (*changes, {"partitions": [PARTITION | {"oldest": None}]}):
        with answering(json.dumps(STATUS | change).encode()) as address:
            assert ask_member(address, "g").status == STATUS | change


@pytest.mark.parametrize(
    "change",
    [
        *({key: odd} for key in NEWER for odd in ODD if odd not in ([], {})),
        *({"held": [HELD | {key: odd}]} for key in ("pixel", "detail", "rejected") for odd in ANY[:4]),
        *({"held": [HELD | {"rejected": [RULE | {key: odd}]}]} for key in RULE for odd in ANY[1:4]),
        *({"workers": [WORKER | {key: odd}]} for key in WORKER for odd in ANY[1:3]),
        *({"skipped": [COUNT | {key: odd}]} for key in COUNT for odd in ANY[1:4]),
        {"lag": {"member": "x"}},
        {"clients": [None]},
    ],
    ids=lambda change: json.dumps(change)[:120],
)
def test_what_newer_members_tell_besides_has_its_shape_or_is_no_members(change: dict[str, Any]) -> None:
    with answering(json.dumps(STATUS | NEWER).encode()) as address:
        assert ask_member(address, "g").status == STATUS | NEWER
    assert fault_of(json.dumps(STATUS | NEWER | change).encode()) == "what answers there is not stream-capi"


@pytest.mark.parametrize(
    "changed",
    [
        *(STATUS | {key: odd} for key in STATUS for odd in ODD if odd not in ([], {}) and (key, odd) != ("group", "x")),
        *(STATUS | {"partitions": [PARTITION | {key: odd}]} for key in PARTITION for odd in ODD[3:] if (key, odd) not in (
            ("topic", "x"), ("stopped", "x"), ("oldest", []), ("oldest", {}))),
        *(STATUS | {"partitions": [PARTITION | {"oldest": WAITS | {key: odd}}]} for key in WAITS for odd in ODD[4:]),
        *(STATUS | {"held": [HELD | {key: odd}]} for key in HELD for odd in ODD if odd != "x"),
        *ODD,
    ],
    ids=lambda changed: json.dumps(changed)[:120],
)  # fmt: skip
def test_json_of_another_shape_is_no_member(changed: Any) -> None:
    assert fault_of(json.dumps(changed).encode()) == "what answers there is not stream-capi"


@pytest.mark.parametrize("text", [b"", b"<html>", b"\xff", b"[" * 100_000, b"9" * 5000, b"{"])
def test_what_is_no_json_is_no_answer(text: bytes) -> None:
    assert fault_of(text).startswith("no answer")


@pytest.mark.slow
def test_an_answer_without_end_is_read_for_seconds() -> None:
    begun = time.monotonic()
    assert fault_of(b" ", pause=0.2, again=100).startswith("no answer")
    assert time.monotonic() - begun < 8


def test_an_answer_beyond_measure_is_not_kept() -> None:
    assert "more than" in fault_of(b" " * (1 << 20), again=200)
