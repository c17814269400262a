"""Why a server can't listen at an address, in a line that names the setting."""

from __future__ import annotations

import asyncio
import errno
import socket


async def listening_fault(host: str, port: int) -> str:
    """Why a server could not listen there; empty where it could."""
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    except (OSError, ValueError) as error:
        return fault_of(error, host, port)
    server.close()
    return ""


def fault_of(error: OSError | ValueError, host: str, port: int) -> str:
    """The line for an error of listening there."""
    if isinstance(error, ValueError):
        return f"admin.host: {host} is no host's name"
    if error.errno == errno.EADDRINUSE:
        return f"admin.port: {port} is in use on {host}; choose another one, or 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"admin.port: this user may not listen on {port}; choose one above 1023"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"admin.host: {host} is no address of this machine"
    return f"admin.host: can't listen on {host}, port {port}: {error.strerror or type(error).__name__}"
