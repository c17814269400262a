"""The shapes of records that are measured: the shipped contract, a wide flat record, and a nested one.

It imports nothing but the standard library, because it also runs in the stream library's environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

LEAD, VIEW = "generate_lead", "page_view"
_ROOT = Path(__file__).parents[2]
_OURS, _OTHERS = _ROOT / "schemas", _ROOT / "benchmarks" / "schemas"


class Shape(NamedTuple):
    """The schema of each event name, and where a ServerEvent's fields are in its records.

    :param columns: for each event name, from target to the field that it comes from; empty if the names are the same.
    :param within: the nested record that holds these fields; empty for the top level.
    """

    name: str
    schemas: Mapping[str, Path]
    columns: Mapping[str, Mapping[str, str]]
    within: str = ""

    def paths(self, event: str) -> dict[str, str]:
        """The mapping as the program's settings have it: from target to path."""
        before = f"{self.within}." if self.within else ""
        return {target: before + column for target, column in self.columns[event].items()}


_WIDE = {
    "event_id": "event_id",
    "event_time": "collector_tstamp",
    "event_source_url": "page_url",
    "user_data.client_id": "domain_userid",
    "user_data.user_id": "user_id",
    "user_data.email": "user_email",
    "user_data.phone": "user_phone",
    "user_data.client_ip_address": "user_ipaddress",
    "user_data.client_user_agent": "useragent",
    "user_data.esi": "platform",
    "user_data.country_code": "geo_country",
    "user_data.zip": "geo_zipcode",
    "user_data.os": "os_name",
}
_NESTED = {
    "event_id": "event_id",
    "event_time": "created_at",
    "event_source_url": "page_url",
    "user_data.axwrt": "cookie_id",
    "user_data.client_id": "visitor_id",
    "user_data.user_id": "account_id",
    "user_data.email": "contact_email",
    "user_data.phone": "contact_phone",
    "user_data.client_ip_address": "ip_address",
    "user_data.client_user_agent": "user_agent",
    "user_data.esi": "channel",
    "user_data.country_code": "billing_country",
    "user_data.zip": "billing_postcode",
    "user_data.os": "system",
    "user_data.sid": "session_id",
}
SHIPPED = Shape("shipped", {LEAD: _OURS / "lead.avsc", VIEW: _OURS / "page_view.avsc"}, {LEAD: {}, VIEW: {}})
WIDE = Shape(
    "wide",
    dict.fromkeys((LEAD, VIEW), _OTHERS / "wide.avsc"),
    {
        LEAD: _WIDE | {"data.currency": "tr_currency", "data.value": "tr_total"},
        VIEW: _WIDE | {"user_data.axwrt": "network_userid", "user_data.sid": "domain_sessionid"},
    },
)
NESTED = Shape(
    "nested",
    dict.fromkeys((LEAD, VIEW), _OTHERS / "nested.avsc"),
    {LEAD: _NESTED | {"data.currency": "currency", "data.value": "amount"}, VIEW: _NESTED},
    within="after",
)
SHAPES = {shape.name: shape for shape in (SHIPPED, WIDE, NESTED)}
