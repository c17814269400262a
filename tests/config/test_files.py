"""Whatever a path leads to, each reader of a file ends soon: with its bytes, or with a one-line error."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from stream_capi.avro.schemas import FileSchema, FolderSchemas
from stream_capi.config import Settings, load
from stream_capi.config.files import content
from stream_capi.errors import ConfigurationError
from stream_capi.operations.explain import file_content
from stream_capi.sandbox.fault_script import Script

SECONDS = 5


def as_folder(path: Path) -> FolderSchemas:
    (path.parent / "folder").mkdir()
    (path.parent / "folder" / "1.avsc").symlink_to(path)
    return FolderSchemas(path.parent / "folder")


def as_record(path: Path) -> None:
    file_content(path)
    raise ConfigurationError(["any bytes are a record's value"])


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 40 << 30)


READERS: dict[str, Callable[[Path], object]] = {
    "the configuration": lambda path: load(path, {}),
    "a schema": FileSchema,
    "a folder's schema": as_folder,
    "a script": Script.load,
    "a record": as_record,
}
ODD: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: path.mkdir(),
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a device without bytes": lambda path: path.symlink_to("/dev/null"),
    "a pipe without a writer": os.mkfifo,
    "a file of 40 GB": huge,
    "a link to itself": lambda path: path.symlink_to(path),
    "bytes that are not UTF-8": lambda path: path.write_bytes(b"\xff\xfe[a]"),
    "lone carriage returns": lambda path: path.write_bytes(b"a = 1\rb = 2\r"),
    "NULs": lambda path: path.write_bytes(b"\0" * 1000),
}


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    def ends(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"it takes more than {SECONDS} s")

    former = signal.signal(signal.SIGALRM, ends)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_file_ends_in_one_clear_line(reader: str, odd: str, tmp_path: Path) -> None:
    path = tmp_path / "odd"
    ODD[odd](path)
    with pytest.raises(ConfigurationError) as caught:
        READERS[reader](path)
    for fault in caught.value.faults:
        assert "\n" not in fault
        assert "None" not in fault


def test_a_pipe_is_read_to_its_end_however_slowly_it_is_written() -> None:
    ours, its = os.pipe()

    async def both() -> bytes:
        reading = asyncio.create_task(asyncio.to_thread(content, f"/dev/fd/{ours}"))
        for piece in (b"a", b"b" * 100_000):
            await asyncio.sleep(0.05)
            await asyncio.to_thread(os.write, its, piece)
        os.close(its)
        return await reading

    assert asyncio.run(both()) == b"a" + b"b" * 100_000
    os.close(ours)


def test_a_writer_that_stays_silent_is_not_waited_for_without_end() -> None:
    ours, its = os.pipe()
    with pytest.raises(OSError, match="returned no data within"):
        content(f"/dev/fd/{ours}", silence=0.1)
    os.close(ours)
    os.close(its)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "n" * 300])
def test_a_name_that_no_file_can_have_is_told(name: str) -> None:
    with pytest.raises(OSError, match=r".+") as caught:
        content(name)
    assert caught.value.strerror


def test_settings_may_be_as_large_as_thousands_of_sources(tmp_path: Path) -> None:
    source = '[[sources]]\ntopic = "leads-{}"\nevent = "page_view"\npixel = "main"\n'
    file = tmp_path / "large.toml"
    file.write_text(
        '[schema_registry]\n[[pixels]]\nname = "main"\npixel_id = "p"\napi_key_env = "K"\n'
        + "".join(source.format(n) for n in range(500))
    )
    settings: Settings = load(file, {"K": "k"})
    assert len(settings.sources) == 500
