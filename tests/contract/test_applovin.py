"""``applovin.py`` against the API document."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from stream_capi import applovin
from stream_capi.config.settings import BatchSection, EndpointSection
from stream_capi.core.outcomes import Delivered, RefusedBatch, SetUpFault, Throttled, Transient, classify
from stream_capi.model import Answer
from stream_capi.resources import API_DOCUMENT, read_shipped

DOCUMENT: dict[str, Any] = yaml.safe_load(read_shipped(API_DOCUMENT))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def test_the_address_and_the_query_are_the_documents() -> None:
    (server,) = DOCUMENT["servers"]
    ((path, methods),) = DOCUMENT["paths"].items()
    assert list(methods) == ["post"]
    assert (path, server["url"] + path) == (applovin.PATH, applovin.URL)
    assert [parameter["name"] for parameter in methods["post"]["parameters"]] == [applovin.PIXEL_PARAMETER]
    assert EndpointSection().url == applovin.URL


def test_the_key_goes_where_the_document_says() -> None:
    (scheme,) = DOCUMENT["components"]["securitySchemes"].values()
    assert f"`{applovin.KEY_HEADER}` header" in scheme["description"]
    assert scheme["scheme"] in applovin.KEY_PREFIXES


def test_a_batch_is_as_large_as_the_document_allows() -> None:
    assert SCHEMAS["EventBatch"]["properties"]["events"]["maxItems"] == applovin.MAX_EVENTS
    assert BatchSection().max_events == applovin.MAX_EVENTS
    with pytest.raises(ValueError, match="less than or equal to 100"):
        BatchSection(max_events=applovin.MAX_EVENTS + 1)


@pytest.mark.parametrize("events", [[], [{"a": 1}], [{"a": 1}, {"b": "é"}]])
def test_a_body_is_the_documents_envelope(events: list[dict[str, Any]]) -> None:
    payloads = [json.dumps(event).encode() for event in events]
    body = applovin.body(payloads)
    assert json.loads(body) == {"events": events}
    assert list(json.loads(body)) == SCHEMAS["EventBatch"]["required"]
    assert len(body) == applovin.ENVELOPE_BYTES + sum(map(len, payloads)) + max(len(payloads) - 1, 0)


def test_each_status_is_in_one_class() -> None:
    classes = {Delivered: [200], RefusedBatch: [400, 413, 422], Throttled: [429, 503]}
    for status in range(100, 600):
        expected = next((kind for kind, statuses in classes.items() if status in statuses), None)
        if expected is None:
            expected = SetUpFault if 300 <= status < 500 and status not in (408, 421, 425) else Transient
        assert classify(Answer(status), 0.0).__class__ is expected, status
    answers = DOCUMENT["paths"][applovin.PATH]["post"]["responses"]
    assert [classify(Answer(int(status)), 0.0).__class__ for status in answers] == [Delivered, RefusedBatch, SetUpFault]
