from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastavro.schema import fingerprint, to_parsing_canonical_form

from stream_capi.avro import schemas
from stream_capi.avro.framing import FILE_KEY, Run, SchemaKey
from stream_capi.avro.schemas import MAX_FILES, MAX_FOLDER, FileSchema, FolderSchemas, SchemasByKind, WriterSchema
from stream_capi.avro.writer_schema import UnknownSchemas, unknown
from stream_capi.config.files import content
from stream_capi.errors import ConfigurationError, RegistryUnavailable
from stream_capi.model import Code, Rejection
from tests.avro.records import LEAD, SCHEMAS, encode, lead, parts, record
from tests.fake_record import FakeRecord


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def write(folder: Path, **files: Any) -> Path:
    for name, raw in files.items():
        (folder / f"{name}.avsc").write_text(raw if isinstance(raw, str) else json.dumps(raw))
    return folder


async def test_a_schema_file_answers_for_itself_alone() -> None:
    source = FileSchema(SCHEMAS / "lead.avsc")
    assert source.cached(FILE_KEY) is source.schema
    assert await source.load(FILE_KEY) is source.schema
    other = source.cached(SchemaKey("id", 1))
    assert other == Rejection(Code.UNKNOWN_SCHEMA, "schema id 1 is not known to a schema file")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "can't be read: No such file"), ("{", "not JSON"), ('"int"', "top level is int"), (b"\xff", "not UTF-8")],
)
def test_a_schema_file_that_is_of_no_use_is_a_fault_of_the_configuration(
    tmp_path: Path, content: str | bytes | None, reason: str
) -> None:
    path = tmp_path / "x.avsc"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match=reason) as caught:
        FileSchema(path)
    assert str(path) in caught.value.faults[0]


def test_the_fingerprint_is_that_of_the_avro_specification(tmp_path: Path) -> None:
    # From Avro's own test suite (share/test/data/schema-tests.txt): a record foo with no fields.
    write(tmp_path, foo={"type": "record", "name": "foo", "fields": [], "doc": "stripped by the canonical form"})
    key = SchemaKey("fingerprint", (-4824392279771201922 & (2**64 - 1)).to_bytes(8, "little").hex())
    found = FolderSchemas(tmp_path).cached(key)
    assert isinstance(found, WriterSchema)
    assert (found.name, found.key) == ("foo", key)


async def test_a_folder_answers_for_fingerprints_and_for_ids_in_file_names(tmp_path: Path) -> None:
    page = json.loads((SCHEMAS / "page_view.avsc").read_text())
    write(tmp_path, **{"lead": LEAD, "42": page, "common": {"type": "enum", "name": "Common", "symbols": ["a"]}})
    source = FolderSchemas(tmp_path)
    by_id = source.cached(SchemaKey("id", 42))
    assert isinstance(by_id, WriterSchema)
    assert (by_id.name, by_id.key) == ("stream_capi.PageView", SchemaKey("id", 42))
    assert [s.name for s in source.schemas()] == ["stream_capi.Lead", "stream_capi.PageView"]
    value = (
        b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(LEAD), "CRC-64-AVRO")) + encode(LEAD, lead())
    )
    (run,) = parts("single_object", [FakeRecord(value)])
    assert isinstance(run, Run)
    found = source.cached(run.key)
    assert isinstance(found, WriterSchema)
    assert found.name == "stream_capi.Lead"


async def test_files_of_a_folder_may_refer_to_each_other(tmp_path: Path) -> None:
    write(tmp_path, z={"type": "enum", "name": "x.Kind", "symbols": ["a"]}, a=record(["null", "x.Kind"]))
    (schema,) = FolderSchemas(tmp_path).schemas()
    assert dict(schema.parsed.fields)["f0"].branches[1].name == "x.Kind"


async def test_a_file_that_is_added_later_is_found_when_the_first_no_has_run_out(tmp_path: Path) -> None:
    clock = Clock()
    source = FolderSchemas(write(tmp_path, lead=LEAD), clock=clock)
    key = SchemaKey("id", 7)
    assert source.cached(key) is None
    missing = await source.load(key)
    assert isinstance(missing, Rejection)
    assert missing.code is Code.UNKNOWN_SCHEMA
    write(tmp_path, **{"7": record("int")})
    assert source.cached(key) is missing
    clock.now += UnknownSchemas.SECONDS
    assert source.cached(key) is None
    assert isinstance(await source.load(key), WriterSchema)
    assert isinstance(source.cached(key), WriterSchema)


async def test_a_flood_of_unknown_ids_reads_no_file_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FolderSchemas(write(tmp_path, **{f"s{at}": record("int") for at in range(20)}))
    reads = Counter[str]()
    monkeypatch.setattr(schemas, "content", lambda path, most: reads.update([path.name]) or content(path, most))
    for id_ in range(100):
        await source.load(SchemaKey("id", id_))
    assert not reads
    write(tmp_path, **{"1000": record("int")})
    assert isinstance(await source.load(SchemaKey("id", 1000)), WriterSchema)


async def test_a_file_broken_while_running_decides_nothing_about_events(tmp_path: Path) -> None:
    source = FolderSchemas(write(tmp_path, lead=LEAD))
    write(tmp_path, broken="{")
    with pytest.raises(RegistryUnavailable, match=r"broken\.avsc"):
        await source.load(SchemaKey("id", 7))
    assert len(source.schemas()) == 1


def test_every_fault_of_a_folder_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a folder with \.avsc files"):
        FolderSchemas(tmp_path / "none")
    write(tmp_path, a="{", b=record({"type": "array", "items": "null"}), c=record("nonsuch"), d=LEAD)
    with pytest.raises(ConfigurationError) as caught:
        FolderSchemas(tmp_path)
    assert [Path(fault.split(": ")[0]).name for fault in caught.value.faults] == ["a.avsc", "b.avsc", "c.avsc"]


def test_a_folder_of_more_files_than_schemas_come_in_is_one_fault_and_none_of_them_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "content", None)
    (tmp_path / "first.avsc").write_text(json.dumps(LEAD))
    for at in range(MAX_FILES):
        (tmp_path / f"{at}.avsc").symlink_to("first.avsc")
    with pytest.raises(ConfigurationError) as caught:
        FolderSchemas(tmp_path)
    assert list(caught.value.faults) == [f"{tmp_path}: has more than {MAX_FILES} .avsc files"]


def test_a_folder_of_anything_at_all_is_not_listed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "MAX_ENTRIES", 10)
    write(tmp_path, lead=LEAD)
    for at in range(10):
        (tmp_path / f"{at}.txt").touch()
    with pytest.raises(ConfigurationError) as caught:
        FolderSchemas(tmp_path)
    assert list(caught.value.faults) == [
        f"{tmp_path}: has more than 10 entries of any kind; put the .avsc files into a folder of their own"
    ]


def test_the_files_of_a_folder_are_bounded_together_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "content", None)
    for at in range(3):
        (tmp_path / f"{at}.avsc").touch()
        os.truncate(tmp_path / f"{at}.avsc", 2 << 20)
    with pytest.raises(ConfigurationError) as caught:
        FolderSchemas(tmp_path)
    assert list(caught.value.faults) == [f"{tmp_path}: its .avsc files have more than 4 MiB together"]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to itself"])
def test_what_is_no_file_is_not_read_as_a_schema(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "content", None)  # a read would wait for each of a hundred silent pipes in turn
    odd = tmp_path / "odd.avsc"
    make: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(odd),
        "device": lambda: odd.symlink_to("/dev/zero"),
        "folder": odd.mkdir,
        "link to itself": lambda: odd.symlink_to(odd),
    }
    make[kind]()
    why = "can't be read: Too many levels of symbolic links" if kind == "link to itself" else "is not a regular file"
    with pytest.raises(ConfigurationError) as caught:
        FolderSchemas(tmp_path)
    assert list(caught.value.faults) == [f"{odd}: {why}"]


def test_a_folder_that_leads_to_itself_or_may_not_be_read_is_one_fault(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for folder in (loop, tmp_path / "none", SCHEMAS / "lead.avsc"):
        with pytest.raises(ConfigurationError) as caught:
            FolderSchemas(folder)
        assert list(caught.value.faults) == [f"{folder}: is not a folder with .avsc files"]


async def test_a_folder_that_grows_too_large_while_running_decides_nothing_about_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = FolderSchemas(write(tmp_path, lead=LEAD))
    monkeypatch.setattr(schemas, "MAX_FILES", 1)
    write(tmp_path, **{"7": LEAD})
    with pytest.raises(RegistryUnavailable, match=r"has more than 1 \.avsc files"):
        await source.load(SchemaKey("id", 7))


@pytest.mark.repeat(of="test_the_files_of_a_folder_are_bounded_together_before_they_are_read")
@pytest.mark.slow
def test_the_largest_folder_is_read_within_seconds(tmp_path: Path) -> None:
    fields = [{"name": f"f{at}", "type": {"type": "fixed", "name": f"F{{}}_{at}", "size": 1}} for at in range(60)]
    raw = json.dumps({"type": "record", "name": "R{}", "fields": fields}, separators=(",", ":"))
    for at in range(MAX_FILES):
        (tmp_path / f"{at}.avsc").write_text(raw.replace("{}", str(at)))
    before = time.process_time()
    assert len(FolderSchemas(tmp_path).schemas()) == MAX_FILES
    assert time.process_time() - before < 10


@pytest.mark.slow
def test_what_each_of_many_files_refers_to_is_bounded_together(tmp_path: Path) -> None:
    fields = [{"name": f"f{at}", "type": {"type": "fixed", "name": f"F{at}", "size": 1}} for at in range(1500)]
    write(tmp_path, shared={"type": "record", "name": "Shared", "fields": fields})
    for at in range(MAX_FILES - 1):
        write(tmp_path, **{str(at): record("Shared") | {"name": f"R{at}"}})
    with pytest.raises(ConfigurationError) as caught:
        FolderSchemas(tmp_path)
    assert list(caught.value.faults) == [
        f"{tmp_path}: its schemas have more than {MAX_FOLDER} characters, with the types they refer to"
    ]


def test_a_folder_may_hold_unions_of_records_that_other_files_define(tmp_path: Path) -> None:
    view = record("long") | {"name": "View"}
    union = ["null", LEAD, "View"]
    write(tmp_path, view=view, **{"7": union})
    source = FolderSchemas(tmp_path)
    found = source.cached(SchemaKey("id", 7))
    assert isinstance(found, WriterSchema)
    assert [one and one.name for one in found.records] == [None, "stream_capi.Lead", "View"]
    whole = to_parsing_canonical_form(["null", LEAD, view])
    assert source.cached(SchemaKey("fingerprint", fingerprint(whole, "CRC-64-AVRO"))) is not None
    assert [one.name for one in source.schemas()] == ["View", "stream_capi.Lead | View"]


@pytest.mark.parametrize(
    "raw",
    [
        [{"type": "enum", "name": "Color", "symbols": ["red"]}, record("int")],
        ["null", "string"],
        [7],
        {"type": "array", "items": "int"},
        "View",
    ],
)
def test_a_file_of_a_folder_that_only_defines_types_is_no_schema_of_events(tmp_path: Path, raw: Any) -> None:
    source = FolderSchemas(write(tmp_path, types=json.dumps(raw), lead=LEAD))
    assert [one.name for one in source.schemas()] == ["stream_capi.Lead"]


async def test_each_kind_of_key_goes_to_its_source(tmp_path: Path) -> None:
    file = FileSchema(SCHEMAS / "lead.avsc")
    both = SchemasByKind({"file": file, "id": FolderSchemas(write(tmp_path, **{"7": LEAD}))})
    assert both.cached(FILE_KEY) is file.schema
    assert isinstance(await both.load(SchemaKey("id", 7)), WriterSchema)
    key = SchemaKey("guid", "x")
    for answer in (both.cached(key), await both.load(key)):
        assert isinstance(answer, Rejection)
        assert answer.code is Code.UNKNOWN_SCHEMA
    await both.aclose()


@pytest.mark.slow
def test_answers_of_no_are_forgotten_in_time_and_never_pile_up() -> None:
    clock = Clock()
    missing = UnknownSchemas(clock)
    for number in range(UnknownSchemas.LIMIT + 5):
        missing.add(SchemaKey("id", number), unknown(SchemaKey("id", number), "x"))
    kept = [number for number in range(UnknownSchemas.LIMIT + 5) if missing.get(SchemaKey("id", number)) is not None]
    assert kept == list(range(5, UnknownSchemas.LIMIT + 5))
    clock.now += UnknownSchemas.SECONDS - 1
    assert missing.get(SchemaKey("id", 6)) is not None
    clock.now += 1
    assert missing.get(SchemaKey("id", 6)) is None


def test_a_folder_is_read_without_a_running_loop(tmp_path: Path) -> None:
    source = FolderSchemas(write(tmp_path, **{"7": LEAD}))
    assert isinstance(asyncio.run(source.load(SchemaKey("id", 7))), WriterSchema)


def test_a_file_of_a_folder_that_is_nested_too_deep_is_a_fault_and_no_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_deep(raw: Any) -> dict[str, Any]:  # how deep JSON may nest depends on the caller's stack depth
        raise RecursionError

    monkeypatch.setattr("stream_capi.avro.schemas.definitions", too_deep)
    with pytest.raises(ConfigurationError, match=r"lead\.avsc: it is not JSON, or nested too deep"):
        FolderSchemas(write(tmp_path, lead=LEAD))


def test_what_the_library_trips_over_in_a_folder_is_a_fault_and_no_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tripping(schema: Any) -> str:
        raise AttributeError("quoting the schema")

    monkeypatch.setattr("fastavro.schema.to_parsing_canonical_form", tripping)
    with pytest.raises(ConfigurationError, match=r"lead\.avsc: invalid Avro schema: AttributeError$"):
        FolderSchemas(write(tmp_path, lead=LEAD))
