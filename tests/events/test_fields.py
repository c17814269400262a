"""The table of fields is complete: settings, documents and the reference mapping have the same fields."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stream_capi.config.settings import TARGETS
from stream_capi.events.fields import FIELDS, IDENTIFIER_FIELDS, RESTRICTED_FIELDS, Need
from stream_capi.events.transform import compile_source
from tests.events import reference
from tests.events.sources_and_records import LEAD, rules

DOCS = Path(__file__).parents[2] / "docs"


def test_it_has_every_field_that_the_settings_may_map() -> None:
    assert set(FIELDS) == set(TARGETS)
    assert all(field.target == target for target, field in FIELDS.items())


@pytest.mark.parametrize("document", ["mapping.md", "contract.md"])
def test_the_documents_name_each_field(document: str) -> None:
    words = set(re.findall(r"\w+", (DOCS / document).read_text()))
    assert {field.name for field in FIELDS.values()} <= words


def test_the_plain_reference_knows_the_same_fields() -> None:
    user = {field.name: field for field in FIELDS.values() if field.target.startswith("user_data.")}
    assert reference.IDENTIFIERS == IDENTIFIER_FIELDS
    assert tuple(name for name, field in user.items() if field.need is Need.OPTIONAL) == reference.OTHERS
    assert {name for name, field in user.items() if field.personal} == reference.PERSONAL
    assert set(RESTRICTED_FIELDS) - {"client_ip_address", "client_user_agent", "esi"} == reference.RESTRICTED
    assert {field.name: field.longest for field in FIELDS.values() if field.longest != 8_192} == reference.LONGEST


def test_a_mapping_reads_what_its_fields_and_its_routing_need_and_the_schema_has() -> None:
    fields = {"user_data.email": ["sid", "nowhere"], "user_data.os": {"const": "ios"}}
    source: dict[str, Any] = {
        "fields": fields,
        "where": {"field": "idfv", "present": True},
        "values": {"field": "ifa", "table": {}},
    }
    paths = compile_source(rules(**source), LEAD).paths
    assert {"sid", "idfv", "ifa", "event_time"} <= paths
    assert not {"nowhere", "os", "email"} & paths
