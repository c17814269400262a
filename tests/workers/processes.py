"""The worker processes of a program that was started with ``--workers``."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import psutil

from stream_capi.model import TopicPartition
from tests.program import Program


def workers_of(program: Program) -> list[psutil.Process]:
    return [
        child for child in program.process.children() if any(word.startswith("--worker=") for word in words_of(child))
    ]


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # it has ended
        return []


def owned_by(worker: psutil.Process) -> set[TopicPartition]:
    """The partitions in a worker's own status."""
    return {TopicPartition(entry["topic"], entry["partition"]) for entry in status_of(worker)["partitions"]}


def status_of(worker: psutil.Process) -> dict[str, Any]:
    """A worker's own status, from its private admin port."""
    (port,) = {at.laddr.port for at in worker.net_connections("inet") if at.status == psutil.CONN_LISTEN}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
