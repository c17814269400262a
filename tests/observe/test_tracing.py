"""Spans of posted batches, with links to the spans that produced their events."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from stream_capi.core.batch import Batch
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.model import Answer, Columns
from stream_capi.observe.tracing import MAX_LINKS, Tracer, from_environment
from tests.fake_record import FakeRecord
from tests.observe import canaries
from tests.simulation import LEADS

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def batch_of(*headers: Any) -> Batch:
    batch = Batch(LEADS)
    owner = PartitionOffsets("leads", 0, 1, 0)
    records = [FakeRecord(canaries.EMAIL.encode(), header) for header in headers]
    batch.extend([canaries.EMAIL.encode()] * len(records), Columns.of(list(records)), [owner] * len(records))
    batch.attempts = 2
    return batch


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exported: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return Tracer(provider)


async def posted(tracer: Tracer, batch: Batch, answer: Answer) -> Answer:
    async def post(given: Batch) -> Answer:
        assert given is batch
        return answer

    return await tracer.around(post)(batch)


async def span_of(
    tracer: Tracer, exported: InMemorySpanExporter, batch: Batch, answer: Answer | None = None
) -> ReadableSpan:
    answer = answer or Answer(200)
    assert await posted(tracer, batch, answer) is answer
    (span,) = exported.get_finished_spans()
    return span


async def test_a_batch_is_one_span_with_its_figures(tracer: Tracer, exported: InMemorySpanExporter) -> None:
    span = await span_of(tracer, exported, batch_of(None, None, None))
    assert (span.name, span.kind, span.status.status_code) == (
        "deliver generate_lead",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert span.attributes == {
        "stream_capi.pixel": "main",
        "stream_capi.event": "generate_lead",
        "stream_capi.attempt": 2,
        "messaging.system": "kafka",
        "messaging.batch.message_count": 3,
        "http.request.body.size": batch_of(None, None, None).size,
        "http.request.method": "POST",
        "http.response.status_code": 200,
    }
    assert span.links == ()


async def test_it_is_linked_to_each_context_once(tracer: Tracer, exported: InMemorySpanExporter) -> None:
    other = f"00-{TRACE}-00f067aa0ba902b7-00".encode()
    span = await span_of(
        tracer,
        exported,
        batch_of([("traceparent", PARENT)], [("x", b"y"), ("traceparent", other)], [("traceparent", PARENT)]),
    )
    contexts = [(link.context.trace_id, link.context.span_id, link.context.trace_flags) for link in span.links]
    assert contexts == [(int(TRACE, 16), int(SPAN, 16), 1), (int(TRACE, 16), 0x00F067AA0BA902B7, 0)]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"00-zz-zz-01",
        PARENT[:-1],
        b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
        b"\xff\xfe",
        b"x" * 10_000,
    ],
)
async def test_a_header_that_is_no_context_makes_no_link(
    tracer: Tracer, exported: InMemorySpanExporter, value: bytes | None
) -> None:
    span = await span_of(tracer, exported, batch_of([("traceparent", value)], [("Traceparent2", PARENT)]))
    assert span.links == ()


async def test_links_are_bounded(tracer: Tracer, exported: InMemorySpanExporter) -> None:
    headers = [[("traceparent", f"00-{TRACE}-{i:016x}-01".encode())] for i in range(1, MAX_LINKS + 50)]
    span = await span_of(tracer, exported, batch_of(*headers))
    assert len(span.links) == MAX_LINKS


@pytest.mark.parametrize(("answer", "reason"), [(Answer(401), "401"), (Answer(fault="timeout"), "timeout")])
async def test_what_is_no_success_is_an_error_with_its_reason(
    tracer: Tracer, exported: InMemorySpanExporter, answer: Answer, reason: str
) -> None:
    span = await span_of(tracer, exported, batch_of(None), answer)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, reason)
    assert span.attributes is not None
    assert span.attributes["error.type"] == reason
    assert span.attributes.get("http.response.status_code") == answer.status


async def test_nothing_of_events_exceptions_or_foreign_state_is_exported(
    tracer: Tracer, exported: InMemorySpanExporter
) -> None:
    async def post(batch: Batch) -> Answer:
        raise ValueError(canaries.EMAIL)

    batch = batch_of([("traceparent", PARENT), ("tracestate", f"vendor={canaries.TOKEN}".encode())])
    with pytest.raises(ValueError, match="canary"):
        await tracer.around(post)(batch)
    (span,) = exported.get_finished_spans()
    assert len(span.links) == 1
    assert span.events == ()
    assert not canaries.leaked(span.to_json())


# Tracing off, on, and requested without the packages


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"},
        {"OTEL_SERVICE_NAME": "leads"},
    ],
)
def test_it_is_off_unless_the_environment_asks_for_it(environ: dict[str, str]) -> None:
    assert from_environment(environ) is None


def test_an_exporter_that_is_not_known_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert from_environment({"OTEL_TRACES_EXPORTER": "zipkin"}) is None
    assert "must be otlp, console or none" in "".join(capsys.readouterr())


def test_a_missing_package_is_a_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert from_environment({"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert "install stream-capi with the extra tracing" in "".join(capsys.readouterr())


@pytest.mark.slow
def test_while_it_is_off_nothing_of_it_is_imported() -> None:
    program = (
        "import sys; from stream_capi.observe.tracing import from_environment; assert from_environment({}) is None; "
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


class Collector:
    """A collector for OTLP over HTTP; it delays its answer until ``release`` is set."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.release = threading.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        await asyncio.to_thread(self.release.wait)
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for of_resource in sent.resource_spans:
            attributes = of_resource.resource.attributes
            self.services |= {a.value.string_value for a in attributes if a.key == "service.name"}
            self.spans += [span for scope in of_resource.scope_spans for span in scope.spans]
        return web.Response()


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield collector
    collector.release.set()
    await runner.cleanup()


async def test_spans_reach_the_collector_that_the_environment_names(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.release.set()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    tracer = from_environment()
    assert tracer is not None
    await posted(tracer, batch_of([("traceparent", PARENT)]), Answer(200))
    assert await tracer.close(60)
    (span,) = collector.spans
    assert span.links[0].trace_id.hex() == TRACE
    assert collector.services == {"stream-capi"}


async def test_a_service_name_in_the_environment_is_kept(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    collector.release.set()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "leads-to-axon")
    tracer = from_environment()
    assert tracer is not None
    await posted(tracer, batch_of(None), Answer(200))
    assert await tracer.close(60)
    assert collector.services == {"leads-to-axon"}


async def test_a_collector_that_does_not_answer_keeps_nobody_from_ending(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    tracer = from_environment()
    assert tracer is not None
    await posted(tracer, batch_of(None), Answer(200))
    assert not await tracer.close(0.3)
    collector.release.set()
    (closing,) = [thread for thread in threading.enumerate() if thread.name == "tracing-close"]
    await asyncio.to_thread(closing.join)
