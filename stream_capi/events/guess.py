"""A first mapping for a schema, guessed by names and types, for a person to correct (``stream-capi init``)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from stream_capi.config.settings import TARGETS
from stream_capi.events.kinds import Kind
from stream_capi.events.mapping_check import unfit
from stream_capi.events.paths import Found, Schema
from stream_capi.model import EventName

# Names that mean a field for sure, then, after the bar, those that may. Best first; all without signs and in lower case.
_NAMES = {
    "event_id": "eventid messageid eventuuid leadid | id uuid",
    "event_time": "eventtime eventtimestamp occurredat sentat originaltimestamp collectortstamp derivedtstamp eventts "
    "| timestamp createdat time ts receivedat submittedat sourcetsms tsms created date",
    "event_source_url": "eventsourceurl pageurl url pagelocation sourceurl landingurl landingpage "
    "| location href page source referrer",
    "dedupe_id": "dedupeid deduplicationid dedupid |",
    "data.currency": "currency currencycode valuecurrency trcurrency | curr",
    "data.value": "value leadvalue amount revenue conversionvalue | total price trtotal score",
    "user_data.aleid": "aleid axeid |",
    "user_data.axwrt": "axwrt |",
    "user_data.alart": "alart axart |",
    "user_data.client_id": "clientid axcid anonymousid domainuserid visitorid | deviceid cookieid gaclientid",
    "user_data.user_id": "userid customerid accountid memberid | customer account externalid contactid",
    "user_data.email": "email emailaddress useremail customeremail emailsha256 hashedemail emailhash | mail",
    "user_data.phone": "phone phonenumber mobile mobilephone telephone msisdn phonesha256 hashedphone | tel cell",
    "user_data.client_ip_address": "clientipaddress clientip clientaddress ip ipaddress useripaddress userip remoteaddr "
    "remoteip | sourceip",
    "user_data.client_user_agent": "clientuseragent useragent browseruseragent clientagent | ua agent browser",
    "user_data.esi": "esi | eventsource platform channel",
    "user_data.country_code": "countrycode country geocountry billingcountry | region",
    "user_data.zip": "zip zipcode postalcode postcode geozipcode billingzip |",
    "user_data.os": "os osname operatingsystem osfamily | platform devicetype",
    "user_data.sid": "sid sessionid domainsessionid | session",
    "user_data.ifa": "ifa idfa gaid advertisingid aaid |",
    "user_data.idfv": "idfv vendorid |",
}
_PAST = ("before", "previous", "old", "prev")  # of a change event: what is true no more
_SIGNS = re.compile(r"[^a-z0-9]")
_COUNTS = re.compile(
    r"(?:_(?:s|secs?|ms|us)|_?(?:seconds|millis|micros))$", re.IGNORECASE
)  # what a time's name may end in
_is_plain_path = re.compile(
    r"[A-Za-z_]\w*(?:(?:\[0\])?\.[A-Za-z_]\w*)*", re.ASCII
).fullmatch  # Avro's own names, which any schema should have


class Guess(NamedTuple):
    """Where a field may come from, best first; none: nothing in the schema looks like it.

    ``unit`` is guessed for a time whose type doesn't say what it counts; ``sure`` is for names that mean nothing else.
    """

    target: str
    paths: tuple[str, ...]
    sure: bool
    unit: str | None = None


def guesses(schema_raw: Any, event: EventName, record: str = "") -> list[Guess]:
    """A guess for each field of an event, in the document's order. ``record``: of which record of a union."""
    leaves = [leaf for leaf in Schema(schema_raw, record).leaves() if _is_plain_path(leaf[0])]
    targets = [one for one in TARGETS if not (one.startswith("data.") and event is EventName.PAGE_VIEW)]
    return [_guess(target, leaves) for target in targets]


def event_of(name: str, topic: str) -> EventName:
    """Which event a schema's and a topic's name sound like."""
    words = _plain(f"{name} {topic}")
    return (
        EventName.PAGE_VIEW
        if any(word in words for word in ("pageview", "page", "view", "visit"))
        else EventName.GENERATE_LEAD
    )


def _guess(target: str, leaves: Iterable[tuple[str, frozenset[Kind]]]) -> Guess:
    surely, _, maybe = _NAMES[target].partition("|")
    known = [*surely.split(), *maybe.split()]
    found = sorted(
        (rank, path.count("."), path, kinds)
        for path, kinds in dict(leaves).items()
        if (rank := _rank(target, path, known)) is not None and not unfit(target, Found(kinds), None, restricted=False)
    )
    if not found:
        return Guess(target, (), sure=False)
    rank, _, path, kinds = found[0]
    unit = _unit(path, kinds) if target == "event_time" else None
    return Guess(target, tuple(one[2] for one in found[:3]), rank < len(surely.split()) and unit is None, unit)


def _rank(target: str, path: str, known: list[str]) -> int | None:
    """How well a path's last names are known; what a change event says of the past comes last."""
    rank = _rank_of_names(path, known)
    if rank is None and target == "event_time":
        return _rank_of_names(_COUNTS.sub("", path), known)
    return rank


def _rank_of_names(path: str, known: list[str]) -> int | None:
    steps = [_plain(step) for step in path.split(".")]
    past = len(known) if any(step in _PAST for step in steps) else 0
    ranks = [known.index(name) for name in _endings(steps) if name in known]
    return min(ranks) + past if ranks else None


def _endings(steps: list[str]) -> Iterator[str]:
    yield steps[-1]
    if len(steps) > 1:
        yield steps[-2] + steps[-1]


def _unit(path: str, kinds: Iterable[Kind]) -> str | None:
    """What a bare number probably counts; None where the type says it, or it is text."""
    numbers = [kind for kind in kinds if kind.type in ("int", "long", "float", "double") and not kind.logical]
    if not numbers:
        return None
    says = _COUNTS.search(path)
    counts = says[0].strip("_").lower() if says else ""
    if any(kind.type == "int" for kind in numbers) or counts.startswith("s"):
        return "s"
    return "us" if counts in ("us", "micros") else "ms"


def _plain(name: str) -> str:
    return _SIGNS.sub("", name.lower())
