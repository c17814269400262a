"""The log line for an unexpected exception: an error with the place in the code, at most once a second for a topic."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from stream_capi.events.transform import IDENTIFIER_FIELDS
from stream_capi.model import TopicPartition
from stream_capi.observe import telemetry
from stream_capi.observe.masking import mask
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.what_to_do import WHAT_TO_DO

LEADS, VIEWS = TopicPartition("leads", 3), TopicPartition("views", 0)


def test_it_is_an_error_with_its_place_once_a_second_for_each_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    reporting = telemetry.Telemetry(Metrics(IDENTIFIER_FIELDS))
    monkeypatch.setattr("stream_capi.observe.telemetry.time.monotonic", lambda: now[0])
    with capture_logs() as lines:
        for offset in range(1_000):
            reporting.internal_error(LEADS, offset, "OverflowError at events/kinds.py:115")
        reporting.internal_error(VIEWS, 5, "KeyError at avro/decode.py:99")
        now[0] += 1.0
        reporting.internal_error(LEADS, 1_000, "OverflowError at events/kinds.py:115")
    assert [(line["topic"], line["offset"]) for line in lines] == [("leads", 0), ("views", 5), ("leads", 1_000)]
    shown = mask(None, "error", lines[0])
    assert shown["detail"] == "OverflowError at events/kinds.py:115"
    assert shown["event"] == "internal error"
    assert shown["action"] == WHAT_TO_DO["internal_error"]
    assert shown["partition"] == 3
