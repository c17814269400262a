"""Keys and ids: where they are read from, when they are read again, and that no output shows them."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest

from stream_capi.config import KeySource, PixelSection, Secret, open_to_others, resolve_pixel_id
from stream_capi.errors import ConfigurationError
from tests.config.test_load import ENVIRON, LEAST, Faults, Read, faults, read

__all__ = ["faults", "read"]
CANARY = "canary-KEY/1+="


def of_file(path: Path) -> PixelSection:
    return PixelSection(name="main", pixel_id="1", api_key_file=str(path))


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    for shown in (repr(secret), str(secret), f"{secret}", f"{[secret]}", "%s" % secret):  # noqa: UP031
        assert "canary" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret == Secret(CANARY)
    assert secret != CANARY
    assert copy.copy([secret]) == [secret]


def test_a_key_of_the_environment() -> None:
    source = KeySource(PixelSection(name="main", pixel_id="1", api_key_env="K"), {"K": f"{CANARY}\n"})
    assert source.read().reveal() == CANARY
    assert not source.changed()


@pytest.mark.parametrize("text", ["a=", "abcd==", "a-b=c", "a/b+c=", "canary-KEY/1+=x", "0x=y"])
def test_a_key_may_have_signs_of_equality(text: str) -> None:
    assert KeySource(PixelSection(name="main", pixel_id="1", api_key_env="K"), {"K": text}).read().reveal() == text


@pytest.mark.parametrize("text", ['"canary"', "PIXEL=canary"])
def test_a_pixels_id_with_quotes_or_its_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"pixels\.a\.pixel_id_env: has"):
        resolve_pixel_id(PixelSection(name="a", pixel_id_env="P"), {"P": text})


def test_a_key_of_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first\n")
    source = KeySource(of_file(file), {})
    assert source.read().reveal() == "first"
    assert not source.changed()

    file.write_text("other\n")
    assert source.changed()
    assert source.read().reveal() == "other"
    assert not source.changed()


def test_a_rotation_is_seen_though_size_and_time_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first")
    os.utime(file, ns=(1, 1))
    source = KeySource(of_file(file), {})
    file.write_text("other")
    os.utime(file, ns=(1, 1))
    assert source.changed()
    assert source.read().reveal() == "other"


def test_a_rotation_by_a_link_is_seen(tmp_path: Path) -> None:
    """Kubernetes replaces a symbolic link by one to the folder of the new version."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "key").write_text(version)
    link = tmp_path / "data"
    link.symlink_to("v1")
    source = KeySource(of_file(link / "key"), {})
    new = tmp_path / "new"
    new.symlink_to("v2")
    new.replace(link)
    assert source.changed()
    assert source.read().reveal() == "v2"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"a b", b"a\x00b", b"\xff"])
def test_a_file_in_the_midst_of_a_rotation_leaves_the_old_key(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    file.write_text("first")
    source = KeySource(of_file(file), {})
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert not source.changed()
    assert source.read().reveal() == "first"

    file.write_text("second")
    assert source.changed()
    assert source.read().reveal() == "second"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"canary\x1bkey", "must be the key alone"),
        (b"Bearer canary", "must be the key alone"),
        (b"canary\r\nX-Other: 1", "must be the key alone"),
        ("canäry".encode(), "must be the key alone"),
        (b"canary\xff", "is not UTF-8 text"),
        (b'"canary"\n', "has quotes around it"),
        (b"'canary'", "has quotes around it"),
        (b"AXON_API_KEY=canary\n", "has NAME= before it"),
        (b"export AXON_API_KEY=canary\n", "has NAME= before it"),
        (b'api_key="canary"', "has quotes around it"),
        (b"c" * 20_000, "more than 16384 bytes"),
    ],
)
def test_a_key_that_is_of_no_use(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        KeySource(of_file(file), {})
    (fault,) = caught.value.faults
    assert fault.startswith("pixels.main.api_key_file: ")
    assert why in fault
    assert "canary" not in fault


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        KeySource(of_file(tmp_path / "pipe"), {})


@pytest.mark.parametrize("environ", [{}, {"K": ""}, {"K": " \n"}])
def test_a_variable_that_is_missing_or_empty(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"pixels\.main\.api_key_env: names a variable"):
        KeySource(PixelSection(name="main", pixel_id="1", api_key_env="K"), environ)


def test_where_a_pixels_id_comes_from(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("of the-file\n".replace(" ", "-"))
    assert resolve_pixel_id(PixelSection(name="a", pixel_id="inline"), {}) == "inline"
    assert (
        resolve_pixel_id(PixelSection(name="a", pixel_id_env="P"), {"P": "of-the-environment"}) == "of-the-environment"
    )
    assert resolve_pixel_id(PixelSection(name="a", pixel_id_file=str(tmp_path / "id")), {}) == "of-the-file"
    with pytest.raises(ConfigurationError, match=r"pixels\.a\.pixel_id_env"):
        resolve_pixel_id(PixelSection(name="a", pixel_id_env="P"), {})
    with pytest.raises(ConfigurationError, match=r"pixels\.a\.pixel_id: must be the id alone"):
        resolve_pixel_id(PixelSection(name="a", pixel_id="a b"), {})


@pytest.mark.parametrize("name", ["api_key", "key", "token", "api_token"])
def test_a_key_written_inline_is_refused_and_not_shown(faults: Faults, name: str) -> None:
    found = faults(LEAST.replace('api_key_env = "AXON_API_KEY"', f'{name} = "{CANARY}"'))
    why = "a key doesn't belong in a file of settings; use api_key_env or api_key_file"
    assert found[0] == f"stream-capi.toml: pixels[0].{name}: {why}"
    assert "canary" not in "".join(found)


@pytest.mark.parametrize("attribute", ["api_key_env", "api_key_file"])
def test_a_key_pasted_where_its_place_is_asked_for_is_not_shown(faults: Faults, attribute: str) -> None:
    (fault,) = faults(LEAST.replace('api_key_env = "AXON_API_KEY"', f'{attribute} = "{CANARY}"'))
    assert fault.startswith(f"stream-capi.toml: pixels[0].{attribute}: names a ")
    assert "canary" not in fault


def test_a_command_that_sends_nothing_needs_no_key(read: Read, faults: Faults) -> None:
    assert len(faults(LEAST, {})) == 1
    assert read(LEAST, {}, keys=False).pixels[0].api_key_env == "AXON_API_KEY"
    assert read(LEAST, ENVIRON).pixels[0].api_key_env == "AXON_API_KEY"


def test_key_files_that_everybody_may_read_are_named(read: Read, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("key", "tls", "registry")}
    for file in files.values():
        file.write_text("a-key")
    settings = read(
        LEAST.replace('api_key_env = "AXON_API_KEY"', f'api_key_file = "{files["key"]}"').replace(
            "[schema_registry]", ""
        )
        + f"""
[kafka.properties]
"ssl.key.location" = "{files["tls"]}"
[schema_registry.properties]
"ssl.key.location" = "{files["registry"]}"
"""
    )
    for mode, named in ((0o600, False), (0o640, False), (0o644, True), (0o604, True)):
        for file in files.values():
            file.chmod(mode)
        expected = ["pixels.main.api_key_file", "kafka.properties.ssl.key.location"]
        assert open_to_others(settings) == (
            [*expected, "schema_registry.properties.ssl.key.location"] if named else []
        ), oct(mode)
    files["key"].unlink()
    assert len(open_to_others(settings)) == 2
