"""Finds every one of ``schema_registry.properties`` that the registry client refuses; the client stops at the first.

The messages contain no value, because it may be a password, and none of the client's texts, because they may quote one.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stream_capi.config.shape import key_of, meant, nearest

NUMBERS = frozenset(
    {"timeout", "cache.capacity", "cache.latest.ttl.sec", "max.retries", "retries.wait.ms", "retries.max.wait.ms"}
)
_FILES = frozenset({"ssl.ca.location", "ssl.certificate.location", "ssl.key.location"})
_BEARER = frozenset(
    {
        "bearer.auth.credentials.source",
        "bearer.auth.client.id",
        "bearer.auth.client.secret",
        "bearer.auth.identity.pool.id",
        "bearer.auth.issuer.endpoint.query",
        "bearer.auth.issuer.endpoint.url",
        "bearer.auth.logical.cluster",
        "bearer.auth.scope",
        "bearer.auth.token",
    }
)
PROPERTIES = NUMBERS | _FILES | _BEARER | {"basic.auth.user.info", "proxy", "ssl.key.password"}
_SOURCES = ("OAUTHBEARER", "OAUTHBEARER_AZURE_IMDS", "STATIC_TOKEN")
_JAVAS = {
    "basic.auth.credentials.source": "is a property of Java clients: leave it out, basic.auth.user.info is enough"
}
_MISSING = re.compile(r"Missing[a-zA-Z ]*:? (.*)|(\S+) required when")
_DOTTED = re.compile(r"[a-z]+(?:\.[a-z]+)+")


def refusals(client: Callable[[dict[str, Any]], Any], url: str, properties: Mapping[str, Any]) -> list[str]:
    """A line for each property that the client refuses, with its key; empty if the client accepts them."""
    faults = {name: what for name, value in properties.items() if (what := _fault(name, value))}
    given = {name: value for name, value in properties.items() if name not in faults}
    for name in faults.keys() - PROPERTIES - _JAVAS.keys():
        probably = nearest(name, PROPERTIES)
        if probably and not _fault(probably, properties[name]):
            given.setdefault(probably, properties[name])
    while error := _error(client, url, given):
        found = dict(_explained(client, url, given, error))
        faults |= {name: what for name, what in found.items() if name not in faults}
        # Faults of related properties may only follow from this one: leave all of them out, and try again.
        gone = given.keys() & (_BEARER if found.keys() & _BEARER else {*found, "ssl.key.location", "ssl.key.password"})
        if not gone or not found:
            break
        given = {name: value for name, value in given.items() if name not in gone}
    return [f"{key_of(['schema_registry', 'properties', name])}: {what}" for name, what in faults.items()]


def _fault(name: str, value: Any) -> str:
    """What is wrong with a property by itself; empty if nothing is."""
    if name in _JAVAS:
        return _JAVAS[name]
    if name not in PROPERTIES:
        return f"unknown property{meant(name, PROPERTIES)}"
    if name in NUMBERS:
        return "" if isinstance(value, int | float) and not isinstance(value, bool) else "must be a number"
    if name == "ssl.ca.location" and value is False:
        return ""
    if not isinstance(value, str):
        return "must be text"
    if name in _FILES:
        return _file_fault(value)
    if name == "bearer.auth.credentials.source" and value not in _SOURCES:
        return f"must be one of {', '.join(_SOURCES)}"
    if name == "basic.auth.user.info" and ":" not in value:
        return 'must be "user:password"'
    return ""


def _file_fault(path: str) -> str:
    if not os.path.exists(path):
        return "names a file that is not there"
    if Path(path).is_fifo():  # the client would wait for a writer
        return "names a pipe, not a file"
    return "" if os.access(path, os.R_OK) else "names a file that this user can't read"


def _error(client: Callable[[dict[str, Any]], Any], url: str, given: Mapping[str, Any]) -> Exception | None:
    try:
        client({**given, "url": url, "max.retries": 0})
    except Exception as error:
        return error
    return None


def _explained(
    client: Callable[[dict[str, Any]], Any], url: str, given: Mapping[str, Any], error: Exception
) -> Iterator[tuple[str, str]]:
    """The properties at fault, each with what is wrong. None if the fault is the url's or the client's."""
    text = str(error)
    if found := _MISSING.match(text):
        yield from ((name, "is missing") for name in _DOTTED.findall(found[1] or found[2]) if name in PROPERTIES)
        return
    if text.startswith("Unrecognized"):  # known names, which the client doesn't read without a credentials source
        yield "bearer.auth.credentials.source", f"is missing: one of {', '.join(_SOURCES)}"
        return
    for name in given:
        without = _error(client, url, {other: value for other, value in given.items() if other != name})
        if without is None or str(without) != text:
            is_pem = isinstance(error, ssl.SSLError)
            yield (
                (name, "names a file that holds no certificate or key in PEM form, or a certificate of another key")
                if is_pem
                else (
                    name,
                    f"{type(error).__name__} from the registry's client",
                )
            )
            return
