"""The command line of every contender."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from benchmarks.contenders.shapes import LEAD, SHIPPED, VIEW

BATCH = 100


class SetUp(NamedTuple):
    """Where to read, where to post, and as whom."""

    bootstrap: str
    registry: str
    group: str
    leads: str
    views: str
    url: str
    pixel_id: str
    key: str
    shape: str = SHIPPED.name

    @property
    def names(self) -> dict[str, str]:
        """The event name of each topic."""
        return {self.leads: LEAD, self.views: VIEW}

    @property
    def target(self) -> str:
        """The URL that is posted to."""
        return f"{self.url}?pixel_id={self.pixel_id}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each request."""
        return {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}

    def arguments(self) -> list[str]:
        """The command line that ``set_up`` reads."""
        return [f"--{name}={value}" for name, value in self._asdict().items()]


def set_up() -> SetUp:
    """Parse this process's command line."""
    parser = argparse.ArgumentParser()
    for field in SetUp._fields:
        parser.add_argument(f"--{field}", required=True)
    return SetUp(**vars(parser.parse_args()))
