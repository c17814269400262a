"""A source's rules, from the settings: everything on which the mapping of its events depends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stream_capi.config import FieldRule, Settings, SourceSection, ValueRule, Where
from stream_capi.config.settings import TARGETS
from stream_capi.events.fields import RESTRICTED_FIELDS
from stream_capi.model import EventName, Lane

TELL_WHO = ("user_data.email", "user_data.phone", "user_data.user_id")  # the fields of the suppression list
_EVENTS = {name.value: name for name in EventName}


@dataclass(frozen=True, slots=True)
class SourceRules:
    """How the records of a topic become events. Ages are in milliseconds; ``max_age_ms`` 0 means no limit.

    ``suppresses``: there is a suppression list, and people on it are looked for even by fields that a lane doesn't send.
    """

    topic: str
    fields: Mapping[str, FieldRule]
    event: EventName | None
    event_field: str | None
    events: Mapping[str, EventName | None]
    pixel: str | None
    pixel_field: str | None
    restricted: Mapping[str, bool]
    where: tuple[Where, ...]
    consent_field: str | None
    consent_purposes: tuple[str, ...]
    strip_without_consent: bool
    values: ValueRule | None
    default_currency: str | None
    phone_region: FieldRule | None
    suppresses: bool
    hash_here: bool
    refuse_private: bool
    max_age_ms: int
    max_future_ms: int
    paused: frozenset[str] = frozenset()  # names of pixels

    @property
    def lane(self) -> Lane | None:
        """The one lane of all events; None if the records decide."""
        return Lane(self.pixel, self.event) if self.pixel is not None and self.event is not None else None

    def rule(self, target: str) -> FieldRule:
        """Where a field comes from: as mapped, or the field of the same name at the top level."""
        return self.fields.get(target) or FieldRule(paths=(target.rpartition(".")[2],))

    def lanes(self) -> list[Lane]:
        """Every lane that a record may get."""
        pixels = [self.pixel] if self.pixel is not None else list(self.restricted)
        events = [self.event] if self.event is not None else [name for name in self.events.values() if name is not None]
        return [Lane(pixel, event) for pixel in pixels for event in dict.fromkeys(events)]

    def targets(self, lane: Lane) -> list[str]:
        """The fields that an event of this lane may have, in the order of the API document."""
        restricted = self.restricted[lane.pixel]
        return [
            target
            for target in TARGETS
            if not (target.startswith("data.") and lane.event is EventName.PAGE_VIEW)
            and not (restricted and target.startswith("user_data.") and target[10:] not in RESTRICTED_FIELDS)
        ]

    def never_sent(self) -> list[str]:
        """The fields that no lane sends, but that are needed to find people on the suppression list."""
        sent = {target for lane in self.lanes() for target in self.targets(lane)}
        return [target for target in TELL_WHO if self.suppresses and target not in sent]


def rules_from(source: SourceSection, settings: Settings) -> SourceRules:
    """The rules of one of ``[[sources]]``, with what they need from ``[delivery]``, ``[suppress]`` and ``[[pixels]]``."""
    delivery = settings.delivery
    return SourceRules(
        topic=source.topic,
        fields=source.fields,
        event=EventName(source.event) if source.event else None,
        event_field=source.event_field,
        events={given: _EVENTS.get(name) for given, name in source.events.items()},
        pixel=source.pixel,
        pixel_field=source.pixel_field,
        restricted={pixel.name: pixel.profile == "restricted" for pixel in settings.pixels},
        where=source.where,
        consent_field=source.consent_field,
        consent_purposes=source.consent_purposes,
        strip_without_consent=source.without_consent == "strip",
        values=source.values,
        default_currency=source.default_currency,
        phone_region=source.phone_region,
        suppresses=settings.suppress.file is not None,
        hash_here=delivery.hash == "local",
        refuse_private=delivery.private_ip == "refuse",
        max_age_ms=delivery.max_age_seconds * 1000,
        max_future_ms=delivery.max_future_seconds * 1000,
    )


def as_key(value: Any) -> str | None:
    """A decoded value as the key of a table in the settings: text as it is, numbers and booleans as JSON writes them."""
    if value.__class__ is str:
        return str(value)
    if value.__class__ is bool:
        return "true" if value else "false"
    if value.__class__ is float and value.is_integer():
        return str(int(value))
    return str(value) if value.__class__ in (int, float) else None
