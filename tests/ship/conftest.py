"""The API server that the tests share, and a namespace for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.ship.api_server import ApiServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def api_server() -> Iterator[ApiServer]:
    shared = ApiServer()
    try:
        yield shared.start()
    finally:
        shared.stop()


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    """A new namespace that enforces the pod security standard ``restricted``."""
    return api_server.namespace(f"test-{next(_numbers)}")
