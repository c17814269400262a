"""Listening at an address, and why a server can't, in a line that names the setting."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable


async def listen(protocol: Callable[[], asyncio.Protocol], host: str, port: int) -> asyncio.Server:
    """A server there. ``::`` is every address, those of IPv4 too, and these alone where the machine has no IPv6.

    Raises OSError, and ValueError for a host's name that has no form for the DNS.
    """
    loop = asyncio.get_running_loop()
    if host != "::":
        return await loop.create_server(protocol, host, port)
    if not socket.has_dualstack_ipv6():
        return await loop.create_server(protocol, "0.0.0.0", port)  # noqa: S104 -- it was asked for
    # The loop itself would keep IPv4 out.
    both = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True)
    return await loop.create_server(protocol, sock=both)


def on_every_address(server: asyncio.Server) -> bool:
    """Whether it listens on all addresses of the machine, however the setting says so."""
    return any(ipaddress.ip_address(one.getsockname()[0]).is_unspecified for one in server.sockets)


async def listening_fault(host: str, port: int) -> str:
    """Why a server could not listen there; empty where it could."""
    try:
        server = await listen(asyncio.Protocol, host, port)
    except (OSError, ValueError) as error:
        return fault_of(error, host, port)
    server.close()
    return ""


def fault_of(error: OSError | ValueError, host: str, port: int) -> str:
    """The line for an error of listening there."""
    if isinstance(error, ValueError):
        return f"admin.host: {host} is not a host name"
    if error.errno == errno.EADDRINUSE:
        return f"admin.port: {port} is in use on {host}; choose another one, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"admin.port: this user may not listen on {port}; choose one above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"admin.host: {host} is not an address of this machine"
    return f"admin.host: can't listen on {host}, port {port}: {error.strerror or type(error).__name__}"
