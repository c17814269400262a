"""``kafka.sasl_password_file``: which files are refused, and when the file is read again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stream_capi.config import PasswordFile, load
from stream_capi.config.settings import KafkaSection
from stream_capi.errors import ConfigurationError
from stream_capi.kafka.properties import admin_properties, producer_properties

REST = """
[[pixels]]
name = "main"
pixel_id = "p"
api_key_env = "KEY"
[[sources]]
topic = "leads"
event = "generate_lead"
pixel = "main"
framing = "raw"
schema_file = "leads.avsc"
"""


def _load(folder: Path, kafka: str) -> KafkaSection:
    (folder / "leads.avsc").write_text('"string"')
    (folder / "capi.toml").write_text(f"[kafka]\n{kafka}{REST}")
    return load(folder / "capi.toml", {"KEY": "key"}).kafka


def test_the_password_goes_to_the_clients_without_the_lines_end(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("with a space\n")
    kafka = _load(tmp_path, 'sasl_password_file = "password"\nproperties = {"sasl.username" = "capi"}\n')
    assert producer_properties(kafka)["sasl.password"] == admin_properties(kafka)["sasl.password"] == "with a space"


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfsecret\r\n", b"secret\r\n", b"secret\n\n"])
def test_what_an_editor_adds_is_no_part_of_the_password(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "password").write_bytes(content)
    section = KafkaSection(sasl_password_file=str(tmp_path / "password"), properties={"sasl.username": "capi"})
    assert PasswordFile(section).login == ("capi", "secret")


@pytest.mark.parametrize(
    ("content", "properties", "wanted"),
    [
        (None, '{"sasl.username" = "capi"}', "kafka.sasl_password_file: names a file that can't be read"),
        ("", '{"sasl.username" = "capi"}', "kafka.sasl_password_file: names a file that is empty"),
        ("\ufeff\n", '{"sasl.username" = "capi"}', "kafka.sasl_password_file: names a file that is empty"),
        ("a\rb", '{"sasl.username" = "capi"}', "kafka.sasl_password_file: must hold the password alone, on one line"),
        ("a\nb\n", '{"sasl.username" = "capi"}', "kafka.sasl_password_file: must hold the password alone, on one line"),
        ("a", "{}", 'kafka.sasl_password_file: needs a user: set kafka.properties."sasl.username"'),
        ("a", '{"sasl.username" = "capi", "sasl.password" = "canary"}', "is set, too; leave one out"),
    ],
)
def test_what_can_be_no_login_is_refused(tmp_path: Path, content: str | None, properties: str, wanted: str) -> None:
    if content is not None:
        (tmp_path / "password").write_text(content)
    with pytest.raises(ConfigurationError, match=re.escape(wanted)) as error:
        _load(tmp_path, f'sasl_password_file = "password"\nproperties = {properties}\n')
    assert "canary" not in str(error.value)


def test_a_changed_file_is_taken_and_one_that_is_gone_keeps_the_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first")
    section = KafkaSection(sasl_password_file=str(file), properties={"sasl.username": "capi"})
    password = PasswordFile(section)
    assert not password.changed()
    file.write_text("second")
    assert password.changed()
    file.unlink()
    assert not password.changed()
    assert password.fault
    assert password.login == ("capi", "second")
    assert "second" not in repr(password) + repr(section)
