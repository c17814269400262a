"""Records whose schema is missing or can't be loaded."""

from __future__ import annotations

import asyncio

import pytest

from stream_capi.avro.framing import Run, SchemaKey
from stream_capi.errors import ENCRYPTED, FieldsEncrypted, RegistryUnavailable, is_encrypted
from stream_capi.pipeline.source import Codec
from tests.pipeline.given import P0, V0, names
from tests.simulation import CODEC, Line, always, simulated


@simulated
async def test_records_wait_for_their_schema_while_the_registry_is_down() -> None:
    line = Line(always(200))
    source = line.sources["leads"]

    async def load(key: object) -> Codec:
        if asyncio.get_running_loop().time() < 60:
            raise RegistryUnavailable("the registry does not answer")
        source.load = None
        return CODEC

    source.load = load
    line.produce("leads", 0, *names("a", 60))
    line.produce("views", 0, *names("b", 60))
    line.assign(P0, V0)

    async def look() -> None:
        await asyncio.sleep(50)
        assert line.accepted == dict.fromkeys(names("b", 60), 1)
        assert line.pipeline.partitions[P0].offsets.watermark == 0

    looking = asyncio.create_task(look())
    await line.run_for(90)
    await looking
    assert line.lag == 0
    assert line.reports["registry"] == 2, "told when it began and when it ended, not each time"


@simulated
async def test_a_schema_that_raises_when_it_is_loaded_dead_letters_its_records_alone() -> None:
    line = Line(always(200))

    async def load(key: object) -> object:
        await asyncio.sleep(1)
        raise RecursionError("c4n4ry@person.example")

    line.sources["views"].load = load
    line.produce("leads", 0, *names("a", 20))
    line.produce("views", 0, "b0", "b1")
    line.assign(P0, V0)
    await line.run_for(5)
    assert (line.accepted, line.dead_letter_codes, line.lag) == (
        dict.fromkeys(names("a", 20), 1),
        {"internal_error": 2},
        0,
    )
    (report,) = [one for one in line.reports if one.startswith("internal_error")]
    assert report.startswith("internal_error RecursionError at ")


@pytest.mark.parametrize("error", [RegistryUnavailable, MemoryError])
@simulated
async def test_what_is_no_schema_s_fault_is_not_its_records(error: type[Exception]) -> None:
    line = Line(always(200))

    async def load(key: object) -> object:
        raise error("not now")

    line.sources["views"].load = load
    line.produce("views", 0, "b0")
    line.assign(V0)
    if error is MemoryError:
        with pytest.raises(ExceptionGroup):
            await line.run_for(5)
    else:
        await line.run_for(5)
    assert (line.dead_letter_codes, line.lag) == ({}, 1)


@simulated
async def test_records_of_a_schema_whose_rules_encrypt_what_is_mapped_wait_and_are_reported_once() -> None:
    line = Line(always(200))
    asked = []

    async def load(key: object) -> object:
        asked.append(key)
        raise FieldsEncrypted(f"{ENCRYPTED} fields that are mapped (ENCRYPT): email")

    line.sources["leads"].load = load
    line.produce("leads", 0, *names("a", 20))
    line.produce("views", 0, *names("b", 20))
    line.assign(P0, V0)
    await line.run_for(90)
    assert line.accepted == dict.fromkeys(names("b", 20), 1)
    assert line.dead_letter_codes == {}
    assert line.pipeline.partitions[P0].offsets.watermark == 0
    assert (len(asked), line.reports["registry"]) == (1, 1), "an answer that asking again doesn't change"


@simulated
async def test_encrypted_fields_are_reported_though_another_schema_has_been_waited_for_before() -> None:
    line = Line(always(200))
    source = line.sources["leads"]
    keys = [SchemaKey("id", id_) for id_ in (1, 2, 3)]
    source.frame = lambda records, values: [
        Run(keys[record.offset()], at, [values[at]]) for at, record in enumerate(records)
    ]

    async def load(key: SchemaKey) -> object:
        if key == keys[0]:
            raise RegistryUnavailable("the registry does not answer")
        raise FieldsEncrypted(f"{ENCRYPTED} the whole payload (ENCRYPT_PAYLOAD)")

    source.load = load
    line.produce("leads", 0, *names("a", 3))
    line.assign(P0)
    await line.run_for(30)
    assert line.accepted == {}
    assert line.reports["registry"] == 2, "one for what fails, one for what is encrypted"
    assert [is_encrypted(source.waiting_for[key]) for key in keys] == [False, True, True]
