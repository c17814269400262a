"""Names that no other test uses, so that tests share a broker without sharing anything on it."""

from __future__ import annotations

from uuid import uuid4


class Names:
    """Topic and group names with a prefix of one test."""

    def __init__(self) -> None:
        self.prefix = f"t{uuid4().hex[:10]}"

    def topic(self, name: str = "topic") -> str:
        return f"{self.prefix}.{name}"

    def group(self, name: str = "group") -> str:
        return f"{self.prefix}.{name}"
