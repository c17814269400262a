"""docs/connect.md: every configuration in it loads, and its clients can be created."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import trustme
from confluent_kafka.admin import AdminClient

from stream_capi.config import load
from stream_capi.errors import ConfigurationError
from stream_capi.kafka.client_errors import made
from stream_capi.kafka.properties import admin_properties
from tests.deploy.program import ROOT

_SECTIONS = re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", (ROOT / "docs/connect.md").read_text(), re.M | re.S)
_FILES = [(title, toml) for title, text in _SECTIONS for toml in re.findall(r"^```toml\n(.*?)^```$", text, re.M | re.S)]
_KINDS = ("Confluent Cloud", "Amazon MSK, SCRAM", "Amazon MSK, IAM", "Azure Event Hubs", "Aiven", "Redpanda", "Strimzi")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("connect")
    authority = trustme.CA()
    client = authority.issue_cert("client.test")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    for name in ("api-key", "kafka-password", "kafka-secret", "event-hubs-connection-string"):
        (folder / name).write_text("a-secret")
    (folder / "leads.avsc").write_text((ROOT / "schemas/lead.avsc").read_text())
    return folder


def test_every_kind_has_a_configuration() -> None:
    assert {title for title, _ in _FILES} == {*_KINDS, "OAuth of a company", "Certificates", "Kerberos"}


@pytest.mark.parametrize(("title", "toml"), _FILES, ids=[title for title, _ in _FILES])
def test_a_configuration_is_loaded_and_its_client_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch, title: str, toml: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    file = folder / "stream-capi.toml"
    file.write_text(toml.replace("/etc/stream-capi/", f"{folder}/"))
    kafka = load(file, {"AXON_PIXEL_ID": "pixel"}).kafka
    assert tomllib.loads(toml)["kafka"]["properties"].keys() == kafka.properties.keys()
    if title == "Kerberos":
        with pytest.raises(ConfigurationError, match=r"GSSAPI \(Kerberos\).*not in the client's wheels"):
            made(AdminClient, admin_properties(kafka))
    else:
        made(AdminClient, admin_properties(kafka))
