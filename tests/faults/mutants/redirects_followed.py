"""``stream-capi`` made wrong: it follows redirects, as the HTTP library does where nobody forbids it.

The library follows a 301 with a GET, which has no body. The rule that an answer belongs to a request whose body was sent would
catch that, too; it is switched off, so that the books have something to find.
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
    Protocol.take = _believe  # type: ignore[method-assign]  # a mutant, too
    aiohttp.ClientSession._request = _follow  # type: ignore[method-assign]  # that is what a mutant is
    main()
