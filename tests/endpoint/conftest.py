"""A fixture for clients, which are closed at the end of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from stream_capi.endpoint.client import EndpointClient

MakeClient = Callable[..., Awaitable[EndpointClient]]


@pytest.fixture
async def client() -> AsyncIterator[MakeClient]:
    """Makes started clients for a URL. The default time-out is long enough for a busy machine."""
    async with AsyncExitStack() as stack:

        async def make(url: str, **options: Any) -> EndpointClient:
            made = EndpointClient(url=url, **({"timeout_seconds": 30} | options))
            await made.start()
            stack.push_async_callback(made.close)
            return made

        yield make
