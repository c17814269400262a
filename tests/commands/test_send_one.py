"""``stream-capi send-one``: one event, one answer, and no personal data in the output."""

from __future__ import annotations

import http.server
import json
import os
import pty
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme
from confluent_kafka.admin import AdminClient

from tests.commands.running import run_command, run_for_json
from tests.endpoint_thread import Endpoint
from tests.events.real_topic import confluent, encoded, produce, register
from tests.events.sources_and_records import LEAD, SCHEMAS, lead
from tests.faults.answers import always
from tests.integration.test_commands import assert_plain, command, write
from tests.program import KEY, PIXEL_ID
from tests.scene import Scene
from tests.stack import Broker, Registry

CANARY = "canary.person@example.com"
PERSON = {
    "email": CANARY, "phone": "+1 650 555 0199", "user_id": "canary-user", "client_id": "canary-client", "sid": "canary-session",
    "client_ip_address": "203.0.113.77", "client_user_agent": "canary-agent", "zip": "98765-4321", "event_id": "canary-order",
    "event_source_url": "https://shop.example/thanks?email=canary",
}  # fmt: skip
SECRETS = (
    KEY, "canary", "555 0199", "5550199", "203.0.113.77", "98765-4321",
    sha256(CANARY.encode()).hexdigest(), sha256(b"16505550199").hexdigest(), sha256(KEY.encode()).hexdigest(),
)  # fmt: skip
TRACE = "0af7651916cd43dd8448eb211c80319c"
WORDS = {"x-al-error-code": "1042", "x-al-error-message": f"{CANARY} has a bad value", "x-trace-id": TRACE}


class Bench:
    """A configuration for records from files, without broker and registry. All output is searched for personal data."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {
            "endpoint": {"url": url, "timeout_seconds": 2},
            "pixels": [{"name": "main", "pixel_id": PIXEL_ID, "api_key_env": "CAPI_TEST_KEY"}],
            "sources": [
                {
                    "topic": "leads",
                    "event": "generate_lead",
                    "pixel": "main",
                    "framing": "raw",
                    "schema_file": str(SCHEMAS / "lead.avsc"),
                }
            ],
        }

    def record(self, **fields: Any) -> str:
        file = self.folder / "record.json"
        file.write_text(json.dumps(lead(event_time=int(time.time() * 1000) - 1000, **PERSON) | fields))
        return str(file)

    def send(
        self, *more: str, code: int = 0, record: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        words = (
            "--config",
            write(self.folder, self.settings),
            "--topic",
            "leads",
            "--file",
            self.record(**record or {}),
        )
        done = command("send-one", *words, *(more or ("--yes",)), env={"COLUMNS": "80", **(env or {})})
        assert_plain(done, code)
        for secret in SECRETS:
            assert secret not in done.stdout + done.stderr, f"{secret!r} stands in an output"
        return done

    def send_for_json(self, code: int = 0, record: Mapping[str, Any] | None = None) -> Any:
        return json.loads(self.send("--yes", "--json", code=code, record=record).stdout)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, endpoint: Endpoint) -> Bench:
    return Bench(tmp_path, endpoint.url)


def one_line(text: str) -> str:
    """The text without a narrow terminal's line breaks."""
    return " ".join(text.split())


@pytest.mark.slow
def test_an_event_is_shown_masked_and_sent_once(bench: Bench, endpoint: Endpoint) -> None:
    done = bench.send()
    endpoint.assert_valid()
    assert list(endpoint.answered().items()) == [("canary-order", 1)]
    assert endpoint.mock.counts.requests == 1
    (accepted,) = endpoint.mock.events
    assert accepted.event["user_data"]["email"] == sha256(CANARY.encode()).hexdigest()
    shown = one_line(done.stdout)
    assert '"email": "…(SHA-256)"' in shown
    assert f"goes to pixel main at {endpoint.url}" in shown
    assert "The API has no sandbox" in shown
    assert "If it is made up, the live pixel counts a person" in shown
    assert "200 after " in shown
    assert "the key sent as bearer" in shown
    assert "delivered: The API took the event." in shown
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.repeat(of="test_an_event_is_shown_masked_and_sent_once")
@pytest.mark.slow
def test_the_json_holds_what_the_text_says(bench: Bench) -> None:
    told = bench.send_for_json()
    (request,) = told["requests"]
    assert told["delivered"] is True
    assert (told["pixel"], told["event"]["name"]) == ("main", "generate_lead")
    assert (request["status"], request["authorization"], request["class"]) == (200, "bearer", "delivered")


@pytest.mark.repeat(of="test_a_refusal_is_printed_with_the_apis_own_words")
@pytest.mark.slow
def test_the_apis_own_words_come_with_a_success_too(bench: Bench, endpoint: Endpoint) -> None:
    endpoint.answer(always(status=200, headers={"x-trace-id": TRACE}))
    assert bench.send_for_json()["requests"][0]["trace_id"] == TRACE
    assert f"x-trace-id: {TRACE}" in bench.send().stdout


@pytest.mark.repeat(of="test_a_refusal_is_printed_with_the_apis_own_words")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "kind", "means"),
    [
        (400, "refused", "compare it with the API document"),
        (413, "refused", "compare it with the API document"),
        (403, "set-up fault", "check that key and pixel_id belong to the same account"),
        (404, "set-up fault", "There is no such address or pixel"),
        (302, "set-up fault", "a redirect, which is never followed"),
        (429, "throttled", "The API asks for a pause"),
        (500, "transient", "The API fails"),
        (204, "transient", "Only a 200 says that the API has the event."),
    ],
)
def test_each_class_of_answer_is_told_with_what_it_means(
    bench: Bench, endpoint: Endpoint, status: int, kind: str, means: str
) -> None:
    endpoint.answer(always(status=status, headers=WORDS))
    (request,) = bench.send_for_json(code=1)["requests"]
    assert (request["status"], request["class"]) == (status, kind)
    assert means in request["meaning"]
    assert request["error_code"] == "1042"
    assert request["error_message"] == "… has a bad value"
    assert request["trace_id"] == TRACE
    assert endpoint.mock.counts.requests == 1, "nothing is sent again"


@pytest.mark.slow
def test_a_refusal_is_printed_with_the_apis_own_words(bench: Bench, endpoint: Endpoint) -> None:
    endpoint.answer(always(status=400, headers=WORDS))
    lines = bench.send(code=1).stdout.splitlines()
    assert "  x-al-error-code: 1042" in lines
    assert "  x-al-error-message: … has a bad value" in lines
    assert f"  x-trace-id: {TRACE}" in lines


# The API key


@pytest.mark.repeat(of="test_a_refusal_is_printed_with_the_apis_own_words")
@pytest.mark.slow
@pytest.mark.parametrize("takes", ["raw", "bearer"])
def test_the_key_is_tried_in_both_forms(tmp_path: Path, takes: str) -> None:
    with Endpoint(authorization=takes) as endpoint:
        told = Bench(tmp_path, endpoint.url).send_for_json()
    requests = [(one["authorization"], one["status"], one["class"]) for one in told["requests"]]
    tried = [("bearer", 401, "other form")] if takes == "raw" else []
    assert requests == [*tried, (takes, 200, "delivered")]
    assert endpoint.answered() == {"canary-order": 1}


@pytest.mark.repeat(of="test_a_refusal_is_printed_with_the_apis_own_words")
@pytest.mark.slow
def test_a_wrong_key_is_refused_in_both_forms(tmp_path: Path) -> None:
    with Endpoint(keys={PIXEL_ID: "another-key"}) as endpoint:
        bench = Bench(tmp_path, endpoint.url)
        told = bench.send_for_json(code=1)
        assert [(one["authorization"], one["status"]) for one in told["requests"]] == [("bearer", 401), ("raw", 401)]
        assert "the key of another product of the vendor gives 401, too" in told["requests"][-1]["meaning"]
        assert told["delivered"] is False
        assert endpoint.mock.counts.requests == 2
        bench.settings["endpoint"]["authorization"] = "raw"
        assert len(bench.send_for_json(code=1)["requests"]) == 1


@pytest.mark.repeat(of="test_without_a_terminal_somebody_must_have_said_yes")
@pytest.mark.slow
def test_without_a_key_nothing_is_read_or_sent(bench: Bench, endpoint: Endpoint) -> None:
    done = bench.send(code=2, env={"CAPI_TEST_KEY": ""})
    assert "pixels[0].api_key_env: names a variable that the environment lacks" in done.stderr
    assert endpoint.mock.counts.requests == 0


# Faults on the way


@pytest.mark.repeat(of="test_a_refusal_is_printed_with_the_apis_own_words")
@pytest.mark.slow
def test_an_endpoint_that_hangs_leaves_it_open_whether_it_has_the_event(bench: Bench, endpoint: Endpoint) -> None:
    endpoint.answer(always(hang=True))
    (request,) = bench.send_for_json(code=1)["requests"]
    assert (request["status"], request["fault"]) == (None, "timeout")
    assert request["meaning"].startswith("Whether the API has the event is not known.")
    assert endpoint.mock.counts.requests == 1


@pytest.mark.repeat(of="test_a_refusal_is_printed_with_the_apis_own_words")
@pytest.mark.slow
def test_a_name_that_does_not_resolve_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "https://no-such-endpoint.invalid/v1/event")
    done = one_line(bench.send(code=1).stdout)
    assert "no answer (dns)" in done
    assert "Nothing was sent: the name no-such-endpoint.invalid can't be resolved; check endpoint.url" in done


@pytest.mark.repeat(of="test_a_refusal_is_printed_with_the_apis_own_words")
@pytest.mark.slow
def test_nobody_who_listens_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = one_line(Bench(tmp_path, f"http://127.0.0.1:{port}/v1/event").send(code=1).stdout)
    assert f"Nothing was sent: no connection to 127.0.0.1:{port}: Connection refused" in done


@pytest.mark.repeat(of="test_a_refusal_is_printed_with_the_apis_own_words")
@pytest.mark.slow
def test_a_certificate_that_nobody_trusts_is_told_and_with_its_authority_the_event_goes(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Endpoint(ssl_context=context) as endpoint:
        bench = Bench(tmp_path, endpoint.url)
        assert bench.settings["endpoint"]["url"].startswith("https://")
        (request,) = bench.send_for_json(code=1)["requests"]
        assert request["fault"] == "tls"
        assert (
            "unable to get local issuer certificate; the certificate of a private authority belongs in endpoint.ca_file"
            in request["meaning"]
        )
        assert endpoint.mock.counts.requests == 0
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        bench.settings["endpoint"]["ca_file"] = str(tmp_path / "ca.pem")
        assert bench.send_for_json()["delivered"] is True


# Content of answers


class _Echo(http.server.BaseHTTPRequestHandler):
    """Returns what it was sent, in every way in which a server may quote a request."""

    spoken: bytes | None = None

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Authorization"]
        event = json.loads(body)["events"][0]
        quoted = {
            "error": "invalid event", "request": event, "as_text": body.decode(), "authorization": key, "key": key.split()[-1],
            "plain": [CANARY, PERSON["phone"], sha256(KEY.encode()).hexdigest()], "path": self.path,
        }  # fmt: skip
        escaped = "".join(f"\\u{ord(sign):04x}" for sign in event["user_data"]["user_id"])
        text = json.dumps(quoted)[:-1] + f', "escaped": "{escaped}"}}'
        answer = text.encode() if self.spoken is None else self.spoken.replace(b"BODY", body)
        self.send_response(400)
        self.send_header("x-al-error-message", f"{event['user_data']['user_id']} with {key}")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def echo(spoken: bytes | None = None) -> Iterator[str]:
    handler = type("Echo", (_Echo,), {"spoken": spoken})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/event"
        server.shutdown()


@pytest.mark.repeat(of="test_any_body_is_printed_bounded_and_masked")
@pytest.mark.slow
@pytest.mark.parametrize("options", [("--yes",), ("--yes", "--json")])
def test_an_answer_that_quotes_the_request_is_masked(tmp_path: Path, options: tuple[str, ...]) -> None:
    with echo() as url:
        done = Bench(tmp_path, url).send(*options, code=1)
    assert "invalid event" in one_line(done.stdout)


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize(
    "spoken",
    [b"<html>BODY</html>", b"BODY" * 100, b"x" * 200_000, b"\x1f\x8b\xff\x00BODY\x1b[31m", b"[" * 60_000, b'{"a": BODY', b""],
    ids=["html", "many", "long", "binary", "deep", "torn", "empty"],
)  # fmt: skip
def test_any_body_is_printed_bounded_and_masked(tmp_path: Path, spoken: bytes) -> None:
    with echo(spoken) as url:
        bench = Bench(tmp_path, url)
        (request,) = bench.send_for_json(code=1)["requests"]
        assert len(request["body"] or "") <= 501
        shown = bench.send(code=1).stdout
    assert "\x1b" not in shown
    assert len(shown) < 6000


# Events that are not sent


@pytest.mark.repeat(of="test_who_asked_to_be_forgotten_is_not_sent")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("record", "source", "why"),
    [
        ({"value": -1.0}, {}, "is not sent: invalid_field: data.value: must be a finite number of 0 or more"),
        ({}, {"where": {"field": "esi", "equals": "app"}}, "is not sent: the settings skip it: where"),
        ({"event_id": "", "dedupe_id": None}, {}, "has no dedupe_id and no event_id, and would get the id of the topic's first record"),
    ],
    ids=["dead letter", "skipped", "no id"],
)  # fmt: skip
def test_what_the_mapping_refuses_is_not_sent(
    bench: Bench, endpoint: Endpoint, record: dict[str, Any], source: dict[str, Any], why: str
) -> None:
    bench.settings["sources"][0] |= source
    done = bench.send(code=1, record=record)
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert endpoint.mock.counts.requests == 0


@pytest.mark.slow
def test_who_asked_to_be_forgotten_is_not_sent(bench: Bench, endpoint: Endpoint) -> None:
    file = bench.folder / "forgotten"
    file.write_text(sha256(CANARY.encode()).hexdigest())
    bench.settings["suppress"] = {"file": str(file)}
    assert "is not sent: the settings skip it: suppressed" in bench.send(code=1).stderr
    assert endpoint.mock.counts.requests == 0


@pytest.mark.repeat(of="test_who_asked_to_be_forgotten_is_not_sent")
@pytest.mark.slow
@pytest.mark.parametrize("paused", ["pixels", "sources"])
def test_what_is_paused_is_not_sent(bench: Bench, endpoint: Endpoint, paused: str) -> None:
    bench.settings[paused][0]["paused"] = True
    assert "paused by configuration: nothing of leads is sent; set paused = false first" in bench.send(code=2).stderr
    assert endpoint.mock.counts.requests == 0


@pytest.mark.repeat(of="test_without_a_terminal_somebody_must_have_said_yes")
@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [("--json",), ("--yes", "--offset", "1"), ("--yes", "--partition", "0", "--offset", "0")]
)
def test_a_wrong_use_is_told_and_nothing_is_sent(bench: Bench, endpoint: Endpoint, more: tuple[str, ...]) -> None:
    bench.send(*more, code=2)
    assert endpoint.mock.counts.requests == 0


@pytest.mark.slow
def test_without_a_terminal_somebody_must_have_said_yes(bench: Bench, endpoint: Endpoint) -> None:
    words = ("--config", write(bench.folder, bench.settings), "--topic", "leads", "--file", bench.record())
    done = command("send-one", *words)
    assert_plain(done, 2)
    assert "add --yes" in one_line(done.stderr.replace("│", " "))
    assert endpoint.mock.counts.requests == 0


@pytest.mark.repeat(of="test_an_event_is_shown_masked_and_sent_once")
@pytest.mark.slow
def test_what_can_not_be_shown_is_not_sent(bench: Bench, endpoint: Endpoint) -> None:
    words = ("--config", write(bench.folder, bench.settings), "--topic", "leads", "--file", bench.record(), "--yes")
    done = subprocess.run(
        ["bash", "-c", '"$@" > /dev/full', "_", sys.executable, "-m", "stream_capi", "send-one", *words],
        env={"PATH": os.defpath, "CAPI_TEST_KEY": KEY}, cwd=SCHEMAS.parent, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the output can't be written" in done.stderr
    assert endpoint.mock.counts.requests == 0


def answered_by(bench: Bench, typed: bytes) -> tuple[int, str]:
    """Run the command on a terminal and type ``typed``; return its exit code and output."""
    words = ("--config", write(bench.folder, bench.settings), "--topic", "leads", "--file", bench.record())
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "stream_capi", "send-one", *words],
        stdin=its, stdout=its, stderr=its, cwd=SCHEMAS.parent, start_new_session=True,
        env={"PATH": os.defpath, "CAPI_TEST_KEY": KEY, "TERM": "dumb", "COLUMNS": "80"},
    ) as process:  # fmt: skip
        os.close(its)
        seen = b""
        with suppress(OSError):  # the other end is closed
            while part := os.read(ours, 65536):
                seen += part
                if typed and b"[y/N]" in seen:
                    os.write(ours, typed)
                    typed = b""
        os.close(ours)
        return process.wait(30), seen.decode(errors="replace")


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "code", "requests"),
    [(b"y\n", 0, 1), (b"n\n", 1, 0), (b"\n", 1, 0), (b"\x04", 1, 0)],
    ids=["yes", "no", "enter", "end of input"],
)
def test_a_person_is_asked_after_the_event_was_shown(
    bench: Bench, endpoint: Endpoint, typed: bytes, code: int, requests: int
) -> None:
    ended, seen = answered_by(bench, typed)
    assert ended == code, seen
    assert seen.index('"dedupe_id"') < seen.index("Send it? [y/N]")
    assert endpoint.mock.counts.requests == requests
    assert "Traceback" not in seen
    assert not [secret for secret in SECRETS if secret in seen]


# From a real topic


@pytest.mark.real
def test_a_record_of_a_topic_is_sent_and_no_group_or_offset_is_touched(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        scene.secrets += SECRETS
        schema_id = register(registry, f"{scene.leads}-value", LEAD)
        good = lead(event_time=int(time.time() * 1000) - 1000, **PERSON)
        values = [confluent(schema_id, encoded(LEAD, one)) for one in (good, good | {"value": -1.0})]
        produce(broker, scene.leads, [*values, None], partition=1)
        at = ("send-one", "--topic", scene.leads, "--partition", "1", "--yes", "--offset")
        shown = one_line(run_command(scene, *at, "0").stdout)
        assert "Nothing was committed: the group has sent this event or will send it, with the same dedupe_id." in shown
        assert "from a file" not in shown
        assert scene.endpoint.answered() == {"canary-order": 1}
        told = run_for_json(scene, *at, "0")
        assert told["record"] == f"{scene.leads}[1]@0"
        scene.endpoint.answer(always(status=400, headers=WORDS))
        assert run_for_json(scene, *at, "0", code=1)["requests"][0]["error_code"] == "1042"
        scene.endpoint.answer(None)
        assert "invalid_field" in run_command(scene, *at, "1", code=1).stderr
        assert "tombstone" in run_command(scene, *at, "2", code=1).stderr
        assert "has the offsets 0 to 2" in run_command(scene, *at, "3", code=2).stderr
        assert scene.endpoint.mock.counts.requests == 3
        assert broker.committed(scene.group, scene.leads) == {}
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        groups = [group.group_id for group in admin.list_consumer_groups().result(30).valid]
        assert [group for group in groups if group.startswith(scene.group)] == []
