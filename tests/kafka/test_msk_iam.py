"""Amazon MSK with IAM: a real broker accepts tokens of a signer, the real signer signs, and errors are one line."""

from __future__ import annotations

import base64
import logging
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import tomli_w
from confluent_kafka.admin import AdminClient

from stream_capi.config.settings import KafkaSection
from stream_capi.errors import ConfigurationError
from stream_capi.kafka.client_errors import made
from stream_capi.kafka.msk_iam import MskToken
from stream_capi.kafka.properties import admin_properties
from tests.integration.test_commands import assert_plain, command
from tests.program import configuration
from tests.scene import Scene
from tests.stack import Registry, SecuredBroker
from tests.stack.users import grant, on_group, on_topic
from tests.stack.waiting import until

MSK = "b-1.demo.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098"
SECRET = "canary-of-an-aws-secret"


@pytest.mark.repeat(of="test_a_command_ends_in_that_line")
@pytest.mark.real
def test_events_are_delivered_with_tokens_of_the_signer_which_are_renewed(
    tmp_path: Path, secured_broker: SecuredBroker, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secured_broker.tokens, "seconds", 8)
    with Scene(tmp_path, secured_broker, registry, 2, bootstrap=secured_broker.sasl) as scene:
        user = scene.group
        scene.secrets.append(secured_broker.tokens.secret)
        scene.settings["kafka"]["properties"] |= {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "AWS_MSK_IAM",
            "ssl.ca.location": str(secured_broker.ca),
        }
        rights = [on_topic("READ", scene.leads), on_topic("READ", scene.views), on_topic("WRITE", scene.dead)]
        grant(secured_broker.admin, user, *rights, on_group("READ", scene.group))
        env = {"TOKEN_URL": secured_broker.tokens.url, "TOKEN_SECRET": secured_broker.tokens.secret}
        before = secured_broker.tokens.asked
        scene.produce(200, bad=4)
        member = scene.member(
            module="tests.kafka.msk_program", env={**env, "TOKEN_CLIENT": user, "AWS_REGION": "eu-west-1"}
        )
        ends = time.monotonic() + 15
        while time.monotonic() < ends:  # longer than a token lives
            scene.produce(20, bad=2)
            time.sleep(0.5)
        scene.close()
        until(lambda: secured_broker.tokens.asked - before > 6, 20, "tokens that are renewed")
        assert member.terminate() == 0


@pytest.mark.parametrize("variable", [None, "AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_real_signer_signs_for_the_region_of_the_cluster(
    monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    if variable is not None:
        monkeypatch.setenv(variable, "us-east-2")
    token, ends = MskToken(MSK if variable is None else "kafka.example.com:9098")()
    request = urlsplit(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode())
    assert request.hostname == f"kafka.{'us-east-2' if variable else 'eu-west-1'}.amazonaws.com"
    assert parse_qs(request.query)["Action"] == ["kafka-cluster:Connect"]
    assert 600 < ends - time.time() <= 900
    assert logging.getLogger("botocore").level == logging.WARNING, "at debug it logs session tokens"


def _fault(properties: dict[str, str | int], bootstrap: str = MSK) -> str:
    kafka = KafkaSection(bootstrap_servers=bootstrap, properties={"security.protocol": "SASL_SSL", **properties})
    begun = time.monotonic()
    with pytest.raises(ConfigurationError) as error:
        made(AdminClient, admin_properties(kafka))
    assert time.monotonic() - begun < 5, "the client's own wait for a token is 10 s"
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_the_extra_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    assert "install stream-capi[aws]" in _fault({"sasl.mechanism": "AWS_MSK_IAM"})


def test_without_a_region_the_line_says_which_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert "set AWS_REGION" in _fault({"sasl.mechanism": "AWS_MSK_IAM"}, "kafka.example.com:9098")


def test_without_credentials_the_line_says_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "give this process AWS credentials" in _fault({"sasl.mechanism": "AWS_MSK_IAM"})


def test_aws_iam_of_the_client_is_one_line_that_names_the_way_to_msk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    properties: dict[str, str | int] = {
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.metadata.authentication.type": "aws_iam",
    }
    assert '"sasl.mechanism" = "AWS_MSK_IAM" instead' in _fault(properties)


@pytest.mark.parametrize("mechanism", ["GSSAPI", None, "CRAM-MD5"])
def test_a_mechanism_that_the_client_lacks_is_one_line_with_those_that_it_has(mechanism: str | None) -> None:
    fault = _fault({"sasl.mechanism": mechanism} if mechanism else {})
    assert fault.startswith('kafka.properties."sasl.mechanism": ')
    assert "choose PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM" in fault
    assert "recompile" not in fault


@pytest.mark.slow
@pytest.mark.parametrize("words", ["check", "run"])
def test_a_command_ends_in_that_line(tmp_path: Path, words: str) -> None:
    properties = {"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}
    source = {"topic": "leads", "event": "generate_lead", "framing": "raw", "schema_file": "leads.avsc"}
    (tmp_path / "leads.avsc").write_text('{"type": "record", "name": "R", "fields": []}')
    settings = configuration("127.0.0.1:1", None, "http://127.0.0.1:1/", "g", [source], "dead")
    settings["kafka"]["properties"] |= properties
    (tmp_path / "capi.toml").write_text(tomli_w.dumps(settings))
    done = command(words, "--config", str(tmp_path / "capi.toml"))
    assert_plain(done, 1 if words == "check" else 2)
    assert "GSSAPI (Kerberos) is not in the client's wheels" in done.stdout + done.stderr
