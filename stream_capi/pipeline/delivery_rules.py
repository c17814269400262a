"""The rules of delivery, read from the settings: the lanes that the sources can fill, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_capi.config import Settings, SourceSection
from stream_capi.core.flow import Backoff
from stream_capi.model import EventName, Lane


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """The settings of sections ``[batch]``, ``[delivery]`` and ``[dead_letter]`` that count here. Seconds and bytes."""

    max_events: int
    max_bytes: int
    max_in_flight: int
    backoff: Backoff
    max_split_requests: int
    probe_seconds: float
    max_dead_letter_ratio: float
    lane_ratios: Mapping[Lane, float] = field(default_factory=dict)  # where it is another for all that feed the lane
    max_requests_per_second: int = 0
    max_refusals: int = 0
    try_key_first: bool = False  # one request of a pixel goes alone until one is delivered


def lanes_of(settings: Settings) -> list[Lane]:
    """Every lane that the sources can fill."""
    return list(dict.fromkeys(lane for source in settings.sources for lane in _lanes_of_source(source, settings)))


def _lanes_of_source(source: SourceSection, settings: Settings) -> list[Lane]:
    pixels = [source.pixel] if source.pixel else [pixel.name for pixel in settings.pixels]
    events = [EventName(source.event)] if source.event else list(EventName)
    return [Lane(pixel, event) for pixel in pixels for event in events]


def _lane_ratios(settings: Settings) -> dict[Lane, float]:
    """The share of events that the API may refuse in a lane: the lowest ``max_ratio`` of the sources that feed it."""
    ratios: dict[Lane, float] = {}
    for source in settings.sources:
        ratio = settings.dead_letter.max_ratio if source.max_ratio is None else source.max_ratio
        for lane in _lanes_of_source(source, settings):
            ratios[lane] = min(ratio, ratios.get(lane, ratio))
    return ratios


def delivery_rules(settings: Settings) -> DeliveryRules:
    """The delivery's rules from the settings, with milliseconds converted to seconds."""
    delivery = settings.delivery
    return DeliveryRules(
        max_events=settings.batch.max_events,
        max_bytes=settings.batch.max_bytes,
        max_in_flight=delivery.max_in_flight,
        backoff=Backoff(delivery.backoff_initial_ms / 1000, delivery.backoff_max_ms / 1000),
        max_split_requests=delivery.max_split_requests,
        probe_seconds=delivery.probe_seconds,
        max_dead_letter_ratio=settings.dead_letter.max_ratio,
        lane_ratios=_lane_ratios(settings),
        max_requests_per_second=delivery.max_requests_per_second,
        max_refusals=delivery.max_refusals,
        try_key_first=settings.endpoint.authorization == "auto",
    )
