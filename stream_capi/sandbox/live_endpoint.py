"""Refuses to produce made-up events where a running member would deliver them to a live pixel."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from stream_capi.errors import ConfigurationError
from stream_capi.events import network

_OWN = ("loopback", "private")


def refuse_live(url: str) -> None:
    """Raise ConfigurationError unless each address of the URL's host is a loopback or a private one.

    A name that can't be resolved is refused: it isn't known where members would deliver to.
    """
    host = urlsplit(url).hostname or ""
    if host.rstrip(".") == "localhost":
        return
    try:
        found = {
            str(place[4][0]).partition("%")[0] for place in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        }
    except (OSError, UnicodeError):
        found = set()
    if not found or any(network.suspect(address) not in _OWN for address in found):
        raise ConfigurationError(
            [
                "endpoint.url: not all addresses of its host are loopback or private, so a running member would send made-up "
                "leads to a live pixel; point it at the stand-in (stream-capi mock-endpoint), or give --into-live"
            ]
        )
