"""Users of a SASL_SSL listener: the nodes' certificate, the users' passwords and their rights (ACLs)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import trustme
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its own docs say so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialAlteration,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from tests.stack.waiting import until

_SECONDS = 15.0
_MECHANISM = "SCRAM-SHA-256"
CERTIFIED = "stream-capi"  # the user whom a client's certificate names


class Right(NamedTuple):
    """One operation on one topic or group, or on all whose names have a prefix."""

    operation: AclOperation
    kind: ResourceType
    name: str
    pattern: ResourcePatternType = ResourcePatternType.LITERAL

    def binding(self, user: str) -> AclBinding:
        return AclBinding(self.kind, self.name, self.pattern, f"User:{user}", "*",
                          self.operation, AclPermissionType.ALLOW)  # fmt: skip

    def binding_filter(self, user: str) -> AclBindingFilter:
        return AclBindingFilter(self.kind, self.name, self.pattern, f"User:{user}", "*",
                                self.operation, AclPermissionType.ALLOW)  # fmt: skip


def on_topic(operation: str, name: str) -> Right:
    return Right(AclOperation[operation], ResourceType.TOPIC, name)


def on_group(operation: str, name: str) -> Right:
    return Right(AclOperation[operation], ResourceType.GROUP, name)


def on_groups(operation: str, prefix: str) -> Right:
    return on_group(operation, prefix)._replace(pattern=ResourcePatternType.PREFIXED)


class Users:
    """The users of the listener ``name``. Its nodes share one certificate, from a certificate authority of the tests."""

    def __init__(self, name: str) -> None:
        self._prefix = f"listener.name.{name.lower()}"
        self.key_store = f"{self._prefix}.ssl.keystore.location"
        self.authority = trustme.CA()
        self.certificate = certificate_of(self.authority)

    def listener(self, folder: Path) -> dict[str, str]:
        """The settings of a node's listener; writes its certificate to the folder."""
        store = identity_of(self.certificate, folder / "identity.pem")
        return {
            f"{self._prefix}.ssl.keystore.type": "PEM",
            self.key_store: str(store),
            f"{self._prefix}.sasl.enabled.mechanisms": _MECHANISM,
            **{
                f"{self._prefix}.{mechanism}.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                )
                for mechanism in ("scram-sha-256", "scram-sha-512")
            },
        }

    def client_certificate(self, folder: Path) -> tuple[Path, Path]:
        """Write a client's certificate from the same authority, and its key; its user is ``CERTIFIED``."""
        issued = self.authority.issue_cert("client.test", organization_name=CERTIFIED)
        certificate, key = folder / "client.pem", folder / "client.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return certificate, key

    def add(self, admin: AdminClient, user: str, password: str, mechanism: str = _MECHANISM) -> Mapping[str, str]:
        """Create a user without any right, or change its password; returns the properties of its clients."""
        credential = ScramCredentialInfo(ScramMechanism[mechanism.replace("-", "_")], 4096)
        asked: list[UserScramCredentialAlteration] = [UserScramCredentialUpsertion(user, credential, password.encode())]
        admin.alter_user_scram_credentials(asked)[user].result(_SECONDS)
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.pem": self.authority.cert_pem.bytes().decode(),
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": password,
        }


def certificate_of(authority: trustme.CA, not_after: datetime | None = None) -> trustme.LeafCert:
    """A certificate for nodes. All have the same subject: a running node refuses a certificate with another one."""
    return authority.issue_cert(
        "127.0.0.1", "localhost", organization_name="nodes", organization_unit_name="tests", not_after=not_after
    )


def identity_of(certificate: trustme.LeafCert, store: Path) -> Path:
    """Write a certificate with its key in the broker's key store format: the key as PKCS8, then the chain."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    store.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with store.open("ab") as file:
        file.writelines(blob.bytes() for blob in certificate.cert_chain_pems)
    return store


def grant(admin: AdminClient, user: str, *rights: Right) -> None:
    """Allow a user these operations, and wait until a broker lists them."""
    for made in admin.create_acls([right.binding(user) for right in rights]).values():
        made.result(_SECONDS)
    for right in rights:
        until(lambda right=right: bool(_found(admin, user, right)), _SECONDS, f"{right} of {user}")  # type: ignore[misc]


def take_away(admin: AdminClient, user: str, right: Right) -> None:
    """Revoke a user's right, and wait until a broker no longer lists it."""
    asked = right.binding_filter(user)
    admin.delete_acls([asked])[asked].result(_SECONDS)
    until(lambda: not _found(admin, user, right), _SECONDS, f"the end of {right} of {user}")


def _found(admin: AdminClient, user: str, right: Right) -> list[AclBinding]:
    found: list[AclBinding] = admin.describe_acls(right.binding_filter(user)).result(_SECONDS)
    return found
