"""Why no connection to a broker comes about, in a person's words: what, where, what to do.

The client reports it to its error callback alone, and only the text distinguishes the causes.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from confluent_kafka import KafkaError

# "sasl_ssl://host:9092/bootstrap: text (after 5ms in state AUTH_REQ, 3 identical error(s) suppressed)"
_FORM = re.compile(
    r"(?:\w+://)?(?P<at>\S+:\d+)/(?:bootstrap|-?\d+): (?P<text>.*?)(?: \(after \d+ms in state (?P<state>\w+).*?\))?$",
    re.DOTALL,
)
_MOST = 300  # characters of what another program answered

_PROPERTIES = 'kafka.properties."{}"'.format
_NO_TOKEN = "Failed to acquire SASL OAUTHBEARER token"  # noqa: S105 -- no token
_NO_LOGIN = (
    "it doesn't accept a login",
    f"set {_PROPERTIES('security.protocol')} to plaintext or ssl, or use the port that asks for a login",
)
_NO_TLS = (
    "it doesn't use TLS",
    f"set {_PROPERTIES('security.protocol')} to plaintext or sasl_plaintext, or use the port that uses TLS",
)
# What the client's text holds, what that means, and what to do about it. The first one counts.
_CAUSES = (
    (
        "certificate verify failed",
        "its certificate is not from an authority that is trusted here, has expired, or is for another name",
        f"set {_PROPERTIES('ssl.ca.location')} to the file of the cluster's certificate authority, or have the brokers' "
        "certificates renewed",
    ),
    (
        "certificate required",
        "it asks for a client certificate",
        f"set {_PROPERTIES('ssl.certificate.location')} and {_PROPERTIES('ssl.key.location')}",
    ),
    (
        "alert bad certificate",
        "it refuses this client's certificate",
        f"use one of an authority that the brokers trust ({_PROPERTIES('ssl.certificate.location')})",
    ),
    (
        "alert unknown ca",
        "it does not know the authority of this client's certificate",
        f"use one of an authority that the brokers trust ({_PROPERTIES('ssl.certificate.location')})",
    ),
    (
        "Invalid response size",  # the first bytes of a TLS alert or of HTTP, read as a length
        "what answers is not Kafka without TLS (but TLS or HTTP, for example)",
        f"correct the address, or set {_PROPERTIES('security.protocol')} to ssl or sasl_ssl",
    ),
    ("SASL Handshake not supported", *_NO_LOGIN),
    ("Request not valid in current SASL state", *_NO_LOGIN),
    (
        "Unsupported SASL mechanism",
        "it does not offer this SASL mechanism",
        f"set {_PROPERTIES('sasl.mechanism')} to one that it offers",
    ),
    ("Failed to resolve", "its name does not resolve", "correct the name, or the DNS of this machine"),
    ("Connection refused", "nothing listens there (connection refused)", "correct the address, or start the brokers"),
    ("timed out", "it does not answer", "look for a firewall between here and there"),
)


class ConnectionFault(NamedTuple):
    """``at`` is the broker's address, empty where the client names none."""

    at: str
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.at}: {self.what}; {self.do}" if self.at else f"{self.what}; {self.do}"


class ConnectionFaults:
    """Keeps the most telling of the errors that a client reports: of each broker, the last that says why."""

    def __init__(self) -> None:
        self._found: dict[str, ConnectionFault] = {}
        self._closed = False

    def add(self, error: KafkaError) -> None:
        """Called with what the client gives to its error callback."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._closed = True
        elif fault := fault_of(error):
            self._found[fault.at] = fault

    def at(self, address: str) -> ConnectionFault | None:
        """Why there is no connection to this broker."""
        return self._found.get(address) or self._found.get("")

    def why(self, protocol: str) -> str:
        """Why there is no connection to any broker; empty where the client has said nothing."""
        if self._found:
            return str(list(self._found.values())[-1])
        if not self._closed:
            return ""
        # Of a listener of another protocol the client only sees that it hangs up.
        name = _PROPERTIES("security.protocol")
        return f"connections end without an answer; {name} ({protocol}) may not be this listener's"


def fault_of(error: KafkaError) -> ConnectionFault | None:
    """One error of the client, where it says why a connection fails."""
    text = error.str()
    if text.startswith(_NO_TOKEN):
        answer = _short(text.removeprefix(_NO_TOKEN).lstrip(": "))
        return ConnectionFault(
            "", f"no token for OAUTHBEARER ({answer})", "check sasl.oauthbearer.* in kafka.properties"
        )
    found = _FORM.match(text)
    if found is None:
        return None
    at, said = found["at"], found["text"]
    if found["state"] == "SSL_HANDSHAKE" and "Disconnected: " in said:
        # The state decides: only some of these texts ask "connecting to a PLAINTEXT broker listener?".
        return ConnectionFault(at, *_NO_TLS)
    for sign, what, do in _CAUSES:
        if sign in said:
            offered = said.partition("supported mechanisms: ")[2]
            return ConnectionFault(at, f"{what} ({_short(offered)})" if offered else what, do)
    if error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
        # No comma behind the password: the log masks what may be its value.
        mechanism = f"that {_PROPERTIES('sasl.mechanism')} is this user's"
        of = f"{_PROPERTIES('sasl.username')} and the password that goes with it, and {mechanism}"
        return ConnectionFault(at, f"the login is refused ({_short(said)})", f"check {of}")
    return ConnectionFault(at, _short(said), "check the address and security.protocol")


def _short(text: str) -> str:
    return "".join(sign for sign in text.removeprefix("SASL authentication error: ") if sign.isprintable())[:_MOST]
