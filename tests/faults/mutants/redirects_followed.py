"""Mutant of ``stream-capi`` that follows redirects, as the HTTP library does by default.

The library follows a 301 with a GET, which has no body. The check that the body was sent before a success would catch that
too, so it is disabled here: the ledger must find the fault.
"""

from __future__ import annotations

from typing import Any

import aiohttp

from stream_capi.cli import main
from stream_capi.endpoint.connections import Protocol

_take = Protocol.take
_request = aiohttp.ClientSession._request


async def _follow(self: aiohttp.ClientSession, *args: Any, **options: Any) -> aiohttp.ClientResponse:
    return await _request(self, *args, **{**options, "allow_redirects": True})


def _believe(self: Protocol) -> bool:
    taken = _take(self)
    self.begun = self.written = True
    return taken


if __name__ == "__main__":
    Protocol.take = _believe  # type: ignore[method-assign]  # disables that check
    aiohttp.ClientSession._request = _follow  # type: ignore[method-assign]  # the mutation
    main()
