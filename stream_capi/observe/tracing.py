"""Tracing, where the environment asks for it (optional extra ``tracing``): one span for each posted batch.

An event's ``traceparent`` record header becomes a link of the span that carried it to the API, so that a lead's way can be
followed from the form to the answer. Only the ids travel: what a ``tracestate`` or an exception's text might hold does not.

``OTEL_EXPORTER_OTLP_ENDPOINT`` (or its form for traces alone) or ``OTEL_TRACES_EXPORTER`` turns it on; the other variables of
the OpenTelemetry SDK mean what they mean there. While it is off nothing of it is imported, and nothing is called.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from stream_capi.core.batch import Batch
from stream_capi.model import Answer, Record
from stream_capi.record_headers import headers_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Link, Span

log = structlog.get_logger("stream_capi")

HEADER = "traceparent"
MAX_LINKS = 100  # below the SDK's own limit of 128, past which it drops them unseen
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Posted:
    """A batch under way."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, answer: Answer) -> None:
        """Note how it ended."""
        from opentelemetry.trace import StatusCode

        if answer.status is not None:
            self._span.set_attribute("http.response.status_code", answer.status)
        if answer.status != 200:
            reason = str(answer.status or answer.fault)
            self._span.set_attribute("error.type", reason)
            self._span.set_status(StatusCode.ERROR, reason)


class Tracer:
    """Makes the spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("stream_capi")

    @contextmanager
    def batch(self, batch: Batch) -> Iterator[Posted]:
        """A span around one request. An exception passes through and leaves no text behind."""
        from opentelemetry.trace import SpanKind

        attributes: dict[str, str | int] = {
            "stream_capi.pixel": batch.lane.pixel,
            "stream_capi.event": batch.lane.event.value,
            "stream_capi.attempt": batch.attempts,
            "messaging.system": "kafka",
            "messaging.batch.message_count": len(batch),
            "http.request.body.size": batch.size,
            "http.request.method": "POST",
        }
        with self._tracer.start_as_current_span(
            f"deliver {batch.lane.event.value}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=links_of(batch.records),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield Posted(span)

    def around(self, post: Callable[[Batch], Awaitable[Answer]]) -> Callable[[Batch], Awaitable[Answer]]:
        """The same ``post``, with a span around each call."""

        async def traced(batch: Batch) -> Answer:
            with self.batch(batch) as posted:
                answer = await post(batch)
                posted.answered(answer)
                return answer

        return traced

    async def close(self, seconds: float) -> bool:
        """Send what is left. False where that took longer: the thread that does it is left behind, and keeps nobody."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def work() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has closed, and nobody waits any more
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=work, name="tracing-close", daemon=True).start()
        try:
            async with asyncio.timeout(seconds):
                await done.wait()
        except TimeoutError:
            return False
        return True


def links_of(records: Iterable[Record]) -> list[Link]:
    """A link for each context among the records' headers, each once, ``MAX_LINKS`` at most."""
    from opentelemetry.trace import Link, SpanContext, get_current_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    links: dict[tuple[int, int], Link] = {}
    for record in records:
        for name, value in headers_of(record):
            if name != HEADER or not value or len(links) == MAX_LINKS:
                continue
            context = propagator.extract({HEADER: value.decode("ascii", "replace")})
            found = get_current_span(context).get_span_context()
            if found.is_valid:
                own = SpanContext(found.trace_id, found.span_id, is_remote=True, trace_flags=found.trace_flags)
                links[found.trace_id, found.span_id] = Link(own)
    return list(links.values())


def from_environment(environ: Mapping[str, str] = os.environ) -> Tracer | None:
    """The tracer that the environment asks for, or None. What it asks for and can't have is a warning, never a fault."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    wanted = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    wanted = wanted or ("otlp" if any(environ.get(name) for name in _ENDPOINTS) else "none")
    if wanted == "none":
        return None
    if wanted not in ("otlp", "console"):
        log.warning("no tracing", reason="OTEL_TRACES_EXPORTER must be otlp, console or none")
        return None
    try:
        return Tracer(_provider(_exporter(wanted), environ))
    except ImportError:
        log.warning("no tracing", reason="the environment asks for it; install stream-capi with the extra tracing")
        return None


def _exporter(name: str) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _provider(exporter: SpanExporter, environ: Mapping[str, str]) -> TracerProvider:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = environ.get("OTEL_SERVICE_NAME") or f"{SERVICE_NAME}=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {SERVICE_NAME: "stream-capi"})
    # Its own end is ``close``: the SDK's at exit would wait for a collector that doesn't answer.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
