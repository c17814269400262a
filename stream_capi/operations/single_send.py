"""Sends one event by itself, and says what the answer means: nothing is sent again, no offset is touched."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from stream_capi import applovin
from stream_capi.config import KeySource, Settings, resolve_pixel_id
from stream_capi.core.outcomes import Delivered, OtherForm, RefusedBatch, SetUpFault, Throttled, classify
from stream_capi.endpoint.client import EndpointClient
from stream_capi.errors import CheckFailed
from stream_capi.model import Answer, ApiError, Lane, Rejection, Routed, Skipped
from stream_capi.observe.api_words import masked, masked_body
from stream_capi.observe.what_to_do import what_to_do
from stream_capi.operations.explain import ExplainedRecord

_UNREACHED = ("dns", "tls", "connect")  # faults that come before a request
_REFUSED = (
    "The API refuses this event, or all of this pixel: compare it with the API document, then send another one. `run` would "
    "dead-letter it as refused."
)
_GOES_ON = "`run` sends it again until the API accepts it."
_UNKNOWN = "Whether the API has the event is not known."


class OneEvent(NamedTuple):
    """An event that may be sent."""

    lane: Lane
    payload: bytes

    def __repr__(self) -> str:
        return f"OneEvent({self.lane}, {len(self.payload)} bytes)"


class Reply(NamedTuple):
    """The answer to one request, in words that may be shown: nothing of the request stands in them."""

    form: str  # of the key
    answer: Answer
    words: ApiError
    body: str
    kind: str
    meaning: str

    @property
    def is_delivered(self) -> bool:
        """Whether the API took the event."""
        return self.answer.status == applovin.DELIVERED


def event_to_send(explained: ExplainedRecord, *, from_file: bool) -> OneEvent:
    """The event of a record. Raises CheckFailed where the mapping makes none, or none that may be sent by itself."""
    made, explanation = explained.outcome, explained.explanation
    if isinstance(made, Rejection):
        raise CheckFailed(f"{explained.place} is not sent: {made.code.value}: {made.detail}")
    if isinstance(made, Skipped):
        raise CheckFailed(f"{explained.place} is not sent: the settings skip it: {made.reason}")
    payload = made.payload if isinstance(made, Routed) else made
    if explanation is None or explanation.lane is None or not isinstance(payload, bytes):
        raise CheckFailed(f"{explained.place} is not sent: it has no lane")
    if from_file and explanation.is_id_derived:
        raise CheckFailed(
            f"{explained.place} is not sent: the file's record has no dedupe_id and no event_id, and would get the id of the "
            "topic's first record, so the API may drop it: give it one"
        )
    return OneEvent(explanation.lane, payload)


async def send(settings: Settings, environ: Mapping[str, str], event: OneEvent) -> list[Reply]:
    """Send it: one request, and one more where ``authorization = "auto"`` has the key tried in its other form.

    Raises ConfigurationError where key or pixel id can't be read, or the file of ``endpoint.ca_file`` holds no certificate.
    """
    pixel = settings.pixel(event.lane.pixel)
    key, pixel_id = KeySource(pixel, environ).read().reveal(), resolve_pixel_id(pixel, environ)
    client = EndpointClient.of(settings.endpoint, max_connections=1)
    body = applovin.body([event.payload])
    heard: list[tuple[ApiError, bytes]] = []
    client.on_answer = lambda words, answer: heard.append((words, answer))
    await client.start()
    try:
        replies: list[Reply] = []
        while not replies or replies[-1].answer.again:
            heard.clear()
            form = client.key_forms.form(pixel_id, key)
            answer = await client.post(pixel_id, key, body)
            words, text = heard[0] if heard else (ApiError(), b"")
            kind, meaning = await _meaning(client, answer)
            shown = masked(words, body, key), masked_body(text, body, key)
            replies.append(Reply(form, answer._replace(said=None), *shown, kind, meaning))
        return replies
    finally:
        await client.close()


async def _meaning(client: EndpointClient, answer: Answer) -> tuple[str, str]:
    """The class of an answer, and what it means for people."""
    found = classify(answer, time.time())
    if isinstance(found, Delivered):
        return "delivered", "The API took the event."
    if isinstance(found, RefusedBatch):
        return "refused", _REFUSED
    if isinstance(found, SetUpFault):
        return "set-up fault", f"{what_to_do(found.reason)} `run` holds the pixel until then."
    if isinstance(found, OtherForm):
        return "other form", "The key is refused in this form: it is sent in the other one."
    if isinstance(found, Throttled):
        return "throttled", f"{what_to_do(found.reason)} {_GOES_ON}"
    why = f"{what_to_do(found.reason)} {_GOES_ON}"
    if answer.status is not None and answer.status < applovin.DELIVERED + 100:
        why = f"Only a 200 says that the API has the event. {why}"
    if answer.fault in _UNREACHED:
        reason = await client.probe()  # the same fault with its name and address, where it lasts
        return "transient", f"Nothing was sent{f': {reason}' if reason else ''}. {why}"
    return "transient", f"{_UNKNOWN} {why}" if answer.fault else why
