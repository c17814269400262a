"""``stream-capi`` made wrong: it follows redirects, as the HTTP library does where nobody forbids it."""

from __future__ import annotations

from typing import Any

import aiohttp

from stream_capi.cli import main

_request = aiohttp.ClientSession._request


async def _follow(self: aiohttp.ClientSession, *args: Any, **options: Any) -> aiohttp.ClientResponse:
    return await _request(self, *args, **{**options, "allow_redirects": True})


if __name__ == "__main__":
    aiohttp.ClientSession._request = _follow  # type: ignore[method-assign]  # that is what a mutant is
    main()
