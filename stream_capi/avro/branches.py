"""Schemas whose top-level type is a union: find the branch that wrote each payload (contract, section 4).

A run is split by branch before it is parsed. So the decoder and the chunk parser read only records, and a field that two
records have with different types is never read with the wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stream_capi.avro.decode import FAULTS, SMALL, Fault, read_long, rejected
from stream_capi.avro.hardening import Node
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.model import Rejection


class Share(NamedTuple):
    """The payloads of one branch, without the branch's index, and their positions in the run."""

    indexes: list[int]
    payloads: list[bytes]

    def __repr__(self) -> str:
        return f"Share({len(self.indexes)} payloads)"


def split(union: Node, payloads: Sequence[bytes]) -> tuple[dict[int, Share], dict[int, Rejection]]:
    """The share of each branch that occurs, by branch; and the rejections of payloads of no branch, by position."""
    shares: dict[int, Share] = {}
    faults: dict[int, Rejection] = {}
    small = {bytes([2 * branch]): branch for branch in range(min(len(union.branches), SMALL))}
    null = next((at for at, branch in enumerate(union.branches) if branch.type == "null"), None)
    for at, payload in enumerate(payloads):
        branch, start = small.get(payload[:1]), 1
        try:
            if branch is None:
                branch, start = _long_index(union, payload)
            if branch == null and len(payload) > start:
                faults[at] = rejected(Fault("bytes are left over"), start, len(payload))
                continue
        except FAULTS as fault:
            faults[at] = rejected(fault, 0, len(payload))
            continue
        share = shares.get(branch)
        if share is None:
            share = shares[branch] = Share([], [])
        share.indexes.append(at)
        share.payloads.append(payload[start:])
    return shares, faults


def branch_of(schema: WriterSchema, payload: bytes) -> tuple[WriterSchema | None, bytes] | Rejection:
    """The schema of one record (None if it is null) and its payload without the branch's index; or its rejection."""
    if schema.parsed.type == "record":
        return schema, payload
    shares, faults = split(schema.parsed, [payload])
    for branch, share in shares.items():
        return schema.records[branch], share.payloads[0]
    return faults[0]


def _long_index(union: Node, payload: bytes) -> tuple[int, int]:
    """The branch and the start of its value, for an index of more than one byte. Raises one of ``FAULTS``."""
    branch, start = read_long(payload, 0)
    if len(union.branches) <= SMALL or not 0 <= branch < len(union.branches):
        raise Fault("no such branch of a union")
    return branch, start
