"""Schemas for what needs neither registry nor file."""

from __future__ import annotations

from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.model import Rejection


class OneSchema:
    """The same schema, or why it is refused, for every key."""

    def __init__(self, schema: WriterSchema | Rejection) -> None:
        self.schema = schema

    def cached(self, key: SchemaKey) -> WriterSchema | Rejection:
        return self.schema

    async def load(self, key: SchemaKey) -> WriterSchema | Rejection:
        return self.schema

    async def aclose(self) -> None:
        return
