"""``dead-letters show`` without a registry: the dead letters' own headers are shown all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_capi import config
from stream_capi.cli import dead_letter_view
from stream_capi.cli.dead_letter_view import shown_dead_letters
from stream_capi.errors import RegistryUnavailable
from stream_capi.operations.dead_letters import dead_letter_of
from stream_capi.operations.explain import ExplainedRecord
from stream_capi.operations.explain import explain_records as really
from tests.fake_record import FakeRecord

SETTINGS = """
[kafka]
bootstrap_servers = "127.0.0.1:1"
[schema_registry]
url = "http://127.0.0.1:1"
[[pixels]]
name = "main"
pixel_id = "p"
api_key_env = "CAPI_TEST_KEY"
[[sources]]
topic = "leads"
event = "generate_lead"
pixel = "main"
"""
FRAMED = b"\0\0\0\0\x01abc"
HEADERS: list[tuple[str, bytes | None]] = [
    ("capi-error-code", b"invalid_field"),
    ("capi-error-detail", b"data.value: is negative"),
    ("capi-source-topic", b"leads"),
    ("capi-source-partition", b"0"),
    ("capi-source-offset", b"7"),
    ("capi-source-timestamp", b"1700000000123"),
]


async def test_a_registry_that_is_down_is_asked_once_and_hides_no_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stream-capi.toml"
    path.write_text(SETTINGS)
    asked: list[str] = []

    async def counted(*given: object) -> list[ExplainedRecord]:
        asked.append("")
        return await really(*given)  # type: ignore[arg-type]  # as they were given

    monkeypatch.setattr(dead_letter_view, "explain_records", counted)
    records = [FakeRecord(FRAMED, HEADERS, place=("dead", 0, offset)) for offset in range(3)]
    found = [(stored, record) for record in records if (stored := dead_letter_of(record))]
    shown, lost = await shown_dead_letters(config.load(path, keys=False), found)
    assert isinstance(lost, RegistryUnavailable)
    assert len(asked) == 1, "a registry that doesn't answer takes five seconds each time"
    assert [dict(one.facts())["letter"] for one in shown] == ["dead[0]@0", "dead[0]@1", "dead[0]@2"]
    assert {one.as_json()["no_mapping"] for one in shown} == {str(lost)}
