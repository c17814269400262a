"""The trusted certificate authorities are read again when their file changes, and a failed handshake is explained."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from stream_capi.core.flow import Backoff, Gate
from stream_capi.endpoint.tls import Trust
from stream_capi.errors import ConfigurationError
from stream_capi.events.transform import IDENTIFIER_FIELDS
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.telemetry import Telemetry
from tests.endpoint.conftest import MakeClient
from tests.endpoint.raw import OK, RawServer, answering
from tests.endpoint.test_client_faults import BODY, KEY, PIXEL, tls


async def test_a_new_authority_is_trusted_and_the_old_one_no_more_without_a_restart(
    client: MakeClient, tmp_path: Path
) -> None:
    old, new, file = trustme.CA(), trustme.CA(), tmp_path / "ca.pem"
    old.cert_pem.write_to_path(str(file))
    async with (
        RawServer(answering(OK), tls(old.issue_cert("127.0.0.1"))) as before,
        RawServer(answering(OK), tls(new.issue_cert("127.0.0.1"))) as after,
    ):
        made = await client(after.url, ca_file=str(file))
        assert not made.trust.changed()
        assert (await made.post(PIXEL, KEY, BODY)).fault == "tls"
        new.cert_pem.write_to_path(str(file))
        assert made.trust.changed()
        assert (await made.post(PIXEL, KEY, BODY)).status == 200
        of_old = await client(before.url, ca_file=str(file))
        assert (await of_old.post(PIXEL, KEY, BODY)).fault == "tls"


@pytest.mark.parametrize("content", ["", "no certificate", None])
async def test_a_file_of_no_use_keeps_the_old_authorities(
    client: MakeClient, tmp_path: Path, content: str | None
) -> None:
    authority, file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    async with RawServer(answering(OK), tls(authority.issue_cert("127.0.0.1"))) as server:
        made = await client(server.url, ca_file=str(file))
        if content is None:
            file.unlink()
        else:
            file.write_text(content)
        assert not made.trust.changed()
        assert made.trust.fault == ("No such file or directory" if content is None else "holds no PEM certificate")
        assert (await made.post(PIXEL, KEY, BODY)).status == 200
        authority.cert_pem.write_to_path(str(file))
        assert not made.trust.changed()
        assert made.trust.fault == ""


async def test_the_log_says_of_a_failed_handshake_what_the_check_says(client: MakeClient, tmp_path: Path) -> None:
    authority, file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    expired = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1))
    for certificate, reason in (
        (expired, "certificate has expired"),
        (authority.issue_cert("elsewhere.example"), "certificate is not valid for"),
        (trustme.CA().issue_cert("127.0.0.1"), "unable to get local issuer certificate"),
    ):
        async with RawServer(answering(OK), tls(certificate)) as server:
            made = await client(server.url, ca_file=str(file))
            assert (await made.post(PIXEL, KEY, BODY)).fault == "tls"
            assert reason in made.tls_reason
            assert made.tls_reason in (await made.probe() or "")
            reporting = Telemetry(Metrics(IDENTIFIER_FIELDS))
            reporting.detail_of = lambda _, made=made: made.tls_reason  # type: ignore[misc]
            gate = Gate(Backoff(1, 1), 1, threshold=1)
            gate.fail("tls", 0.0, 0.5)
            with capture_logs() as lines:
                reporting.gate_changed("main", gate)
            assert reason in lines[0]["detail"]


def test_a_file_that_can_not_be_read_any_more_is_a_line_when_it_begins_and_when_it_ends() -> None:
    reporting = Telemetry(Metrics(IDENTIFIER_FIELDS))
    with capture_logs() as lines:
        reporting.file_fault("key file", "main", "", "names a file that is empty")
        reporting.file_fault("key file", "main", "names a file that is empty", "names a file that is empty")
        reporting.file_fault("key file", "main", "names a file that is empty", "")
        reporting.file_fault("key file", "main", "", "")
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("key file unreadable", "error"),
        ("key file readable again", "info"),
    ]


@pytest.mark.timeout(20)
def test_a_pipe_without_a_writer_is_a_fault_of_the_settings_and_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "ca.pem"
    os.mkfifo(pipe)
    with pytest.raises(ConfigurationError, match="holds no PEM certificate"):
        Trust(str(pipe))
