"""The API's error texts: what is kept of them, where they are shown, and how often they are logged."""

from __future__ import annotations

import orjson
import pytest

from stream_capi.model import Answer, ApiError, DeadLetter
from stream_capi.observe.api_words import masked
from tests.endpoint.events import lead
from tests.observe.simulated_app import P0, Watched
from tests.simulation import simulated

HASH = "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"
USER = {
    "email": HASH,
    "user_id": "jsmith99",
    "client_id": "Zoë Dvořák-Field",
    "zip": "SW1A 1AA",
    "client_user_agent": "Mozilla/5.0 (Phonix 17)",
}
BODY = orjson.dumps({"events": [lead("order-17", **USER)]})
KEY = "canary;key=="


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("Account blocked for 24 hours", "Account blocked for 24 hours"),
        ("events[3].user_data.email is no hash", "events[3].user_data.email is no hash"),
        ("'esi' must be web or app", "'esi' must be web or app"),
        ("user jsmith99 is unknown", "user … is unknown"),
        ("duplicate: order-17.", "duplicate: …"),
        (f"bad hash {HASH}", "bad hash …"),
        ("bad email jane@example.com", "bad email …"),
        ("bad phone +1 650 555 1212", "bad phone …"),
        ("bad address 192.0.2.7", "bad address …"),
        ("no client Dvořák-Field here", "no client … here"),
        ("no client Dvo??k-Field here", "no client … here"),
        ("no client Field here", "no client … here"),
        ("agent Mozilla/5.0 (Phonix 17)", "agent … (… 17)"),
        ("zip SW1A 1AA is odd", "zip … … is odd"),
        ("no zip for the user_id, data.value, user", "no zip for the user_id, data.value, user"),
        ("value must not be null", "value must not be null"),
        (f"wrong key {KEY}!", "wrong key …!"),
        ("wrong key canary", "wrong key …"),
        ("cut off: jsmi", "cut off: …"),
        ("cut off: SW1", "cut off: …"),
        ("cut off: emai", "cut off: emai"),
        ("Authorization: Bearer abc", "…"),
    ],
)
def test_a_message_keeps_nothing_of_the_request(message: str, kept: str) -> None:
    assert masked(ApiError("100007", message, "t"), BODY, KEY).message == kept


@pytest.mark.parametrize(
    ("trace", "kept"),
    [
        ("550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"),
        ("0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319c"),
        ("Root=1-67891233-abcdef012345678912345678", "Root=1-67891233-abcdef012345678912345678"),
        (HASH, "…"),
        ("jane@example.com", "…"),
        ("jsmith99", "…"),
        (f"x{KEY}", "…"),
        ("canary", "…"),
        ("", ""),
    ],
)
def test_a_trace_id_is_kept_whole_unless_it_could_be_of_the_request(trace: str, kept: str) -> None:
    assert masked(ApiError("", "", trace), BODY, KEY).trace_id == kept


@simulated
async def test_words_are_in_the_status_the_held_line_and_a_line_of_their_own_once_a_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = ApiError("100007", "blocked", "trace-1")
    line = Watched(lambda pixel, ids, now: (0.05, Answer(403, said=said)))
    line.produce("leads", 0, *(f"a{i}" for i in range(100)))
    line.assign(P0)
    await line.run_for(20)
    (pixel,) = line.status["pixels"]
    assert {name: pixel["api_said"][name] for name in ("status", "error_code", "error_message", "trace_id")} == {
        "status": "403",
        "error_code": "100007",
        "error_message": "blocked",
        "trace_id": "trace-1",
    }
    lines = capsys.readouterr()
    text = lines.out + lines.err
    assert text.count("the API says") == 1
    assert text.count("100007") == 2, "with the line that the pixel is held, too"


@simulated
async def test_a_refused_events_dead_letter_has_the_words() -> None:
    said = ApiError("77", "currency", "")
    line = Watched(lambda pixel, ids, now: (0.05, Answer(400, said=said) if "a7" in ids else Answer(200, said=None)))
    details: list[str] = []
    write = line.write

    async def noting(dead_letter: DeadLetter) -> None:
        details.append(dead_letter.detail)
        await write(dead_letter)

    line.write = noting  # type: ignore[method-assign]
    line.produce("leads", 0, *(f"a{i}" for i in range(20)))
    line.assign(P0)
    await line.run_for(20)
    assert details == ["the API answered 400 to this event alone; x-al-error-code 77, x-al-error-message currency"]
