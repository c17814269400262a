"""The program's settings in a benchmark: the defaults, with the addresses of the stack."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders.setup import SetUp
from benchmarks.contenders.shapes import SHAPES

DEAD_LETTERS = "bench.dead-letters"


def settings_of(setup: SetUp, admin_port: int = 0, **sections: dict[str, Any]) -> dict[str, Any]:
    """The settings as the file has them; ``sections`` override them."""
    settings: dict[str, Any] = {
        "kafka": {"bootstrap_servers": setup.bootstrap, "group_id": setup.group},
        "schema_registry": {"url": setup.registry},
        "endpoint": {"url": setup.url},
        "pixels": [{"name": "bench", "pixel_id": setup.pixel_id, "api_key_env": "BENCH_KEY"}],
        "sources": [
            {"topic": topic, "event": name, "pixel": "bench", "fields": SHAPES[setup.shape].paths(name)}
            for topic, name in setup.names.items()
        ],
        "dead_letter": {"topic": DEAD_LETTERS},
        "admin": {"port": admin_port},
    }
    for section, keys in sections.items():
        settings[section] = {**settings.get(section, {}), **keys}
    return settings
