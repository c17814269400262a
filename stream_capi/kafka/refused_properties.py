"""Which properties the client refuses, and why: all of them, where the client itself stops at the first one.

A property that it refuses is taken out and the client is made again, until it is made. No client made here knows a broker, so
that nothing is connected. No text holds a value that may be a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from stream_capi.config.consistency import OWNED_PROPERTIES
from stream_capi.config.shape import key_of, meant, nearest
from stream_capi.kafka.property_names import CONSUMER_ONLY, PRODUCER_ONLY, SHARED

_MOST = 50  # faults of one client; a guard against a client that never says anything else
_NAMED = re.compile(r'[`"]([a-z_]+(?:\.[a-z_]+)*)[`"]|\b([a-z_]+(?:\.[a-z_]+)+)')
_KNOWN = CONSUMER_ONLY | PRODUCER_ONLY | SHARED
_MECHANISM = ("sasl.mechanism", "sasl.mechanisms")
_CREATION = re.compile(r"Failed to create \w+(?: \w+)?: ")
_UNKNOWN = "No such configuration property"
_RANGE = re.compile(r"value \S+ is outside allowed range (\S+)\.\.(\S+)")
_JAAS = "is a property of Java clients: set sasl.mechanism, sasl.username and sasl.password"
_INTERNAL = "can be set by a program, not by a file"
_MECHANISMS = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM"
_NO_KERBEROS = (
    f"is not in the client's wheels; choose {_MECHANISMS}, or build the client with Kerberos (docs/connect.md)"
)


def refusals(client: Callable[[dict[str, Any]], Any], properties: Mapping[str, Any]) -> list[str]:
    """A line for each property that this kind of client refuses, with its key; none where the client can be made.

    Raises KafkaException where the system, not a property, is the reason.
    """
    given = {name: value for name, value in properties.items() if isinstance(value, str | int)}
    faults: dict[str, str] = {}
    while len(faults) < _MOST and (why := _why(client, given)):
        name = _culprit(client, given, why)
        faults.setdefault(name, _sentence(name, why, given))
        if not _taken_out(name, why, given):
            break
    return [f"{key_of(['kafka', 'properties', *([name] if name else [])])}: {what}" for name, what in faults.items()]


def _why(client: Callable[[dict[str, Any]], Any], given: Mapping[str, Any]) -> str:
    """What the client says to these properties; empty where it takes them."""
    try:
        made = client({**given, "bootstrap.servers": "", "log_level": 0})
    except KafkaException as error:
        found: KafkaError = error.args[0]
        if found.code() == KafkaError._CRIT_SYS_RESOURCE:
            raise
        text: str = found.str() or found.name()
        return text.strip()
    except Exception as error:  # of what the Python client reads by itself; its text may quote a value
        return f"{type(error).__name__} from the client"
    if hasattr(made, "close"):
        made.close()
    return ""


def _culprit(client: Callable[[dict[str, Any]], Any], given: Mapping[str, Any], why: str) -> str:
    """The property at fault: one that the client names, else the one without which it says something else."""
    found: list[str] = [first or second for first, second in _NAMED.findall(why)]
    named = [name for name in found if name not in OWNED_PROPERTIES]
    if "SASL mechanism" in why:
        named += _MECHANISM
    written = [name for name in named if name in given]
    if written:
        return written[0]
    known = [name for name in named if name in _KNOWN]
    if known and known[0].startswith("sasl."):  # missing
        return known[0]
    candidates = [name for name in given if name not in OWNED_PROPERTIES]
    for name in sorted(candidates, key=lambda name: name == "security.protocol"):  # it makes the others count
        if _why(client, {other: value for other, value in given.items() if other != name}) != why:
            return name
    return known[0] if known else ""


def _sentence(name: str, why: str, given: Mapping[str, Any]) -> str:
    """The client's words in ours, where its own help nobody."""
    why = _CREATION.sub("", why)
    if why.startswith(_UNKNOWN):
        return f"unknown property{meant(name, _KNOWN)}"
    if name.endswith(".location") and (fault := _file_fault(str(given.get(name, "")))):
        return fault
    if why.startswith("Invalid value"):
        choice = "; choose PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL" if name == "security.protocol" else ""
        return f"has a value that the client doesn't know{choice}"
    if "sasl.username and sasl.password must be set" in why:
        return "the login is incomplete; set sasl.username, and kafka.sasl_password_file or sasl.password"
    if found := _RANGE.search(why):
        return f"must be between {found[1]} and {found[2]}"
    if "JAAS" in why:
        return _JAAS
    if "not settable" in why or "dedicated" in why:
        return _INTERNAL
    if "No provider for SASL mechanism" in why:
        default = "" if given.keys() & set(_MECHANISM) else ", which is the client's default,"
        return f"GSSAPI (Kerberos){default} {_NO_KERBEROS}"
    if "Unsupported SASL mechanism" in why:
        return f"the client has no such mechanism; choose {_MECHANISMS}"
    return _without_secrets(why, given)


def _file_fault(path: str) -> str:
    if not os.path.exists(path):
        return "names a file that is not there"
    if not os.access(path, os.R_OK):
        return "names a file that this user can't read"
    return "names a file that doesn't hold what it should in PEM or PKCS#12 form, or a certificate of another key"


def _without_secrets(why: str, given: Mapping[str, Any]) -> str:
    for name, value in given.items():
        if re.search("password|secret|passphrase|key|token|config", name) and len(str(value)) > 2:
            why = why.replace(str(value), "…")
    return why


def _taken_out(name: str, why: str, given: dict[str, Any]) -> bool:
    """Go on without what is at fault, and without what would be wrong only for that. Whether anything has changed."""
    before = dict(given)
    value = given.pop(name, None)
    if why.startswith(_UNKNOWN):
        probably = nearest(name, _KNOWN)
        if probably and value is not None:
            given.setdefault(probably, value)
    elif "sasl" in why.lower() or name.startswith("sasl."):
        for other in _of_sasl(given):
            given.pop(other)
        if str(before.get("security.protocol", "")).lower() == "sasl_ssl":
            given["security.protocol"] = "ssl"
    return given != before


def _of_sasl(given: Mapping[str, Any]) -> Iterator[str]:
    yield from [name for name in given if name.startswith("sasl.") or name == "security.protocol"]
