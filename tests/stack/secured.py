"""A real broker with authentication (SCRAM, PLAIN, OAUTHBEARER and client certificates) and the authorizer.

One broker with several listeners. ``bootstrap`` is for the tests, without a password and with every right; users of the
others may do what ``tests.stack.users.grant`` allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trustme
from confluent_kafka import KafkaException

from tests.stack.asking import Kafka
from tests.stack.kafkaserver import KafkaServer, replicated
from tests.stack.process import Server, free_ports
from tests.stack.tokens import AUDIENCE, Tokens
from tests.stack.users import CERTIFIED, Users, identity_of

PASSWORD_OF_PLAIN = "canary-of-a-plain-user"
# After this time a client authenticates again on the same connection (KIP-368). So a changed password is needed within
# seconds, and not only at the next reconnect.
REAUTHENTICATE_SECONDS = 4
_SASL, _MTLS, _ELSEWHERE, _NOWHERE = "SASL", "MTLS", "ELSEWHERE", "NOWHERE"
_PROTOCOLS: Mapping[str, str] = {
    "DIRECT": "PLAINTEXT",
    _SASL: "SASL_SSL",
    _MTLS: "SSL",
    _ELSEWHERE: "PLAINTEXT",
    _NOWHERE: "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
}
_OAUTH = "org.apache.kafka.common.security.oauthbearer"


class SecuredBroker(KafkaServer, Kafka):
    """One broker. ``sasl`` and ``mtls`` are the addresses of its listeners with authentication.

    The broker's address in the metadata is a port at which nobody listens for clients that bootstrap at ``elsewhere``, and a
    name that does not resolve for those at ``nowhere``.
    """

    def __init__(self) -> None:
        ports = dict(zip(_PROTOCOLS, free_ports(len(_PROTOCOLS)), strict=True))
        (self.closed_port,) = free_ports(1)
        self._server = Server("kafka-secured")
        at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        self.bootstrap, self.sasl, self.mtls = at["DIRECT"], at[_SASL], at[_MTLS]
        self.elsewhere, self.nowhere = at[_ELSEWHERE], at[_NOWHERE]
        self._listeners = at
        self.users = Users(_SASL)
        self.tokens = Tokens()
        self.plain = {"accounting": PASSWORD_OF_PLAIN}
        folder = self._own().folder
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(self.users.authority.cert_pem.bytes())
        self.other_ca = folder / "other-ca.pem"
        self.other_ca.write_bytes(trustme.CA().cert_pem.bytes())
        self._keys = folder / "jwks.json"
        self._keys.write_text(json.dumps(self.tokens.keys()))
        self.java_options = (f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self._keys.as_uri()}",)

    def stop(self) -> None:
        """Shut down cleanly, and delete the data."""
        self.tokens.stop()
        self._own().terminate()
        self._own().remove()
        self._admin = None

    # --- properties of clients

    def scram(self, user: str, password: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, Any]:
        """Create a SCRAM user, or change its password; returns the properties of its clients."""
        made = self.users.add(self.admin, user, password, mechanism)
        return {**{name: made[name] for name in made if name != "ssl.ca.pem"}, **self._trust()}

    def plain_user(self, password: str = PASSWORD_OF_PLAIN) -> dict[str, Any]:
        """The properties of the one PLAIN user; its name is ``accounting``."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "accounting",
            "sasl.password": password,
            **self._trust(),
        }

    def oidc(self, client: str, secret: str | None = None) -> dict[str, Any]:
        """The properties of a client that fetches its tokens at ``tokens``; its user has the client's name."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": self.tokens.url,
            "sasl.oauthbearer.client.id": client,
            "sasl.oauthbearer.client.secret": self.tokens.secret if secret is None else secret,
            **self._trust(),
        }

    def certified(self) -> dict[str, Any]:
        """The properties of a client with a certificate of the broker's authority; its user is ``CERTIFIED``."""
        certificate, key = self.users.client_certificate(self._own().folder)
        return {
            "security.protocol": "SSL",
            "ssl.certificate.location": str(certificate),
            "ssl.key.location": str(key),
            **self._trust(),
        }

    def _trust(self) -> dict[str, str]:
        return {"ssl.ca.location": str(self.ca)}

    # --- settings of the broker

    def _properties(self) -> dict[str, str]:
        advertised = self._listeners | {
            _ELSEWHERE: f"127.0.0.1:{self.closed_port}",
            _NOWHERE: "broker-1.internal.invalid:9092",
        }
        del advertised["CONTROLLER"]
        return {
            **replicated(1, 1),
            "node.id": "1",
            "inter.broker.listener.name": "DIRECT",
            "listener.security.protocol.map": ",".join(map(":".join, _PROTOCOLS.items())),
            "listeners": ",".join(f"{name}://{address}" for name, address in self._listeners.items()),
            "advertised.listeners": ",".join(f"{name}://{address}" for name, address in advertised.items()),
            "controller.quorum.voters": f"1@{self._listeners['CONTROLLER']}",
            "broker.session.timeout.ms": "60000",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            **self._sasl(self._own().folder),
            **self._certificates(self._own().folder),
        }

    def _sasl(self, folder: Path) -> dict[str, str]:
        prefix = f"listener.name.{_SASL.lower()}"
        plain = " ".join(f'user_{user}="{password}"' for user, password in self.plain.items())
        return {
            **self.users.listener(folder),
            f"{prefix}.sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER",
            f"{prefix}.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {plain};"
            ),
            f"{prefix}.oauthbearer.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
            f"{prefix}.oauthbearer.sasl.server.callback.handler.class": f"{_OAUTH}.OAuthBearerValidatorCallbackHandler",
            f"{prefix}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": self._keys.as_uri(),
            f"{prefix}.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
            f"{prefix}.oauthbearer.sasl.oauthbearer.expected.issuer": self.tokens.url,
            "connections.max.reauth.ms": str(REAUTHENTICATE_SECONDS * 1000),
        }

    def _certificates(self, folder: Path) -> dict[str, str]:
        prefix = f"listener.name.{_MTLS.lower()}"
        return {
            f"{prefix}.ssl.keystore.type": "PEM",
            f"{prefix}.ssl.keystore.location": str(identity_of(self.users.certificate, folder / "identity-mtls.pem")),
            f"{prefix}.ssl.truststore.type": "PEM",
            f"{prefix}.ssl.truststore.location": str(self.ca),
            f"{prefix}.ssl.client.auth": "required",
            f"{prefix}.ssl.principal.mapping.rules": f"RULE:^.*O={CERTIFIED}.*$/{CERTIFIED}/,DEFAULT",
        }

    def _answers(self) -> bool:
        try:
            return bool(self.admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False
