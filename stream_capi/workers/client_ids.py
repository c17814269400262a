"""The client id of a member: it distinguishes the members in the brokers' logs, metrics and quotas, and in ``status``.

It is made of what stays over a restart, so that there are no more ids than places where the program runs.
"""

from __future__ import annotations

import re
import socket

from stream_capi.config import Settings

_MOST_CHARACTERS = 64  # of a host's name: what Linux allows
_unfit = re.compile(r"[^A-Za-z0-9._-]")


def identified(settings: Settings, number: int, host: str | None = None) -> Settings:
    """The settings with the host and the worker's number as ``client.id``, unless the user has set one."""
    properties = settings.kafka.properties
    if "client.id" in properties:
        return settings
    name = _unfit.sub("-", socket.gethostname() if host is None else host)[:_MOST_CHARACTERS]
    update = {"properties": {**properties, "client.id": f"stream-capi-{name}-{number}"}}
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update=update)})
