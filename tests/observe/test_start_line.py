"""The log line that a member writes at its start."""

from __future__ import annotations

import json
from typing import Any

import pytest
import structlog

from stream_capi.config import Settings
from stream_capi.observe import logs
from stream_capi.observe.masking import HIDDEN
from stream_capi.observe.start_line import page_url, start_line
from tests.observe import canaries


def settings(topics: int = 2, url: str = "https://b.applovin.com/v1/event", host: str = "127.0.0.1") -> Settings:
    return Settings.model_validate(
        {
            "pixels": [{"name": "main", "pixel_id": "id", "api_key_env": "KEY"}],
            "sources": [
                {"topic": f"leads-{number}", "event": "generate_lead", "pixel": "main"} for number in range(topics)
            ],
            "endpoint": {"url": url},
            "admin": {"host": host},
        }
    )


def written(capsys: pytest.CaptureFixture[str], of: Settings) -> dict[str, Any]:
    logs.configure("info", "json")
    structlog.get_logger("stream_capi").info("started", client="stream-capi-pod-1", **start_line(of, 9464))
    line: dict[str, Any] = json.loads(capsys.readouterr().err)
    return line


def test_it_says_where_page_endpoint_and_topics_are(capsys: pytest.CaptureFixture[str]) -> None:
    line = written(capsys, settings())
    assert (line["page"], line["endpoint"]) == ("http://127.0.0.1:9464/", "https://b.applovin.com/v1/event")
    assert (line["topics"], line["count"], line["client"]) == (["leads-0", "leads-1"], 2, "stream-capi-pod-1")
    assert "withheld" not in line


def test_a_thousand_topics_are_counted_and_some_named(capsys: pytest.CaptureFixture[str]) -> None:
    line = written(capsys, settings(1000))
    assert (len(line["topics"]), line["count"]) == (20, 1000)


@pytest.mark.parametrize(
    ("host", "page"),
    [
        ("0.0.0.0", "http://127.0.0.1:9464/"),  # noqa: S104 -- a configured value
        ("::", "http://127.0.0.1:9464/"),
        ("2001:db8::7", "http://[2001:db8::7]:9464/"),
        ("10.2.3.4", "http://10.2.3.4:9464/"),
        ("pod-7", "http://pod-7:9464/"),
    ],
)
def test_the_page_can_be_opened_where_it_is_said_to_be(
    host: str, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert page_url(host, 9464) == page
    assert written(capsys, settings(host=host))["page"] == page


def test_logins_and_queries_of_an_address_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"https://user:{canaries.KEY}@10.1.2.3:8443/v1/event?email={canaries.EMAIL}#x"
    for given, shown in ((url, "https://10.1.2.3:8443/v1/event"), ("ftp://no", HIDDEN), ("http://a b/", HIDDEN)):
        logs.configure("info", "json")
        structlog.get_logger("stream_capi").info("started", endpoint=given)
        text = capsys.readouterr().err
        assert json.loads(text)["endpoint"] == shown
        assert not canaries.leaked(text)
