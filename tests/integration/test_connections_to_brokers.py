"""``check`` without a connection to the brokers prints one line that says what failed, where, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.commands.running import configuration_of
from tests.integration.test_commands import command
from tests.scene import Scene
from tests.stack import Registry, SecuredBroker
from tests.stack.secured import PASSWORD_OF_PLAIN

pytestmark = pytest.mark.real

WRONG = "canary-of-a-wrong-password"

Fault = Callable[[SecuredBroker], tuple[str, Mapping[str, Any]]]  # the bootstrap address and the properties

FAULTS: Mapping[str, tuple[Fault, str, str]] = {
    "wrong password, SCRAM": (
        lambda broker: (broker.sasl, {**broker.scram("capi", "right"), "sasl.password": WRONG}),
        "{sasl}: the login is refused",
        'check kafka.properties."sasl.username" and the password',
    ),
    "wrong password, PLAIN": (
        lambda broker: (broker.sasl, broker.plain_user(WRONG)),
        "{sasl}: the login is refused",
        'check kafka.properties."sasl.username" and the password',
    ),
    "wrong client secret": (
        lambda broker: (broker.sasl, broker.oidc("capi", WRONG)),
        "no token for OAUTHBEARER",
        "check sasl.oauthbearer.* in kafka.properties",
    ),
    "wrong authority": (
        lambda broker: (broker.sasl, {**broker.plain_user(), "ssl.ca.location": str(broker.other_ca)}),
        "{sasl}: its certificate is not from an authority that is trusted here",
        'set kafka.properties."ssl.ca.location"',
    ),
    "no certificate": (
        lambda broker: (broker.mtls, {"security.protocol": "SSL", "ssl.ca.location": str(broker.ca)}),
        "{mtls}: it asks for a client certificate",
        'set kafka.properties."ssl.certificate.location" and kafka.properties."ssl.key.location"',
    ),
    "TLS to a listener without": (
        lambda broker: (broker.bootstrap, {"security.protocol": "SSL"}),
        "{bootstrap}: it doesn't use TLS",
        'set kafka.properties."security.protocol"',
    ),
    "no TLS to a listener with it": (
        lambda broker: (broker.sasl, {}),
        "connections end without an answer",
        'kafka.properties."security.protocol" (plaintext) may not be this listener\'s',
    ),
    "a host that does not resolve": (
        lambda _: ("broker.invalid:9092", {}),
        "broker.invalid:9092: its name does not resolve",
        "correct the name, or the DNS of this machine",
    ),
    "a port that nobody listens at": (
        lambda broker: (f"127.0.0.1:{broker.closed_port}", {}),
        "127.0.0.1:{closed_port}: nothing listens there",
        "correct the address, or start the brokers",
    ),
    "advertised elsewhere": (
        lambda broker: (broker.elsewhere, {}),
        "{elsewhere} answers, but redirects clients to 127.0.0.1:{closed_port}: nothing listens there",
        "That address is in advertised.listeners of the broker: correct it there",
    ),
    "advertised by a name that does not resolve": (
        lambda broker: (broker.nowhere, {}),
        "{nowhere} answers, but redirects clients to broker-1.internal.invalid:9092: its name does not resolve",
        "That address is in advertised.listeners of the broker: correct it there",
    ),
}


_REPEATED = ("wrong password, PLAIN", "TLS to a listener without", "a port that nobody listens at")


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=pytest.mark.repeat) if name in _REPEATED else name for name in FAULTS]
)
def test_check_says_what_where_and_what_to_do(
    tmp_path: Path, secured_broker: SecuredBroker, registry: Registry, fault: str
) -> None:
    way, what, do = FAULTS[fault]
    bootstrap, properties = way(secured_broker)
    with Scene(tmp_path, secured_broker, registry, 1, bootstrap=bootstrap) as scene:
        scene.settings["kafka"]["properties"] |= properties
        done = command("check", "--config", configuration_of(scene))
    assert done.returncode == 1
    assert not {WRONG, PASSWORD_OF_PLAIN} & set((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr
    of_brokers = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("FAIL  brokers: ")]
    assert len(of_brokers) == 1, done.stdout + done.stderr
    assert what.format_map(vars(secured_broker)) in of_brokers[0]
    assert do in of_brokers[0]
    assert "0A000086" not in of_brokers[0], "OpenSSL's own words help nobody"
