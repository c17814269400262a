"""Look up schemas that aren't known yet: a few at a time, however many records wait, until the registry answers.

Damaged or hostile records can name any of four billion schemas. If all were requested at once, and repeatedly while the
registry is down, the requests would take more memory and time than all events. So ``LIMIT`` workers alternate between a new
schema and one that failed before. A worker without an answer waits, longer after each failure in a row.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from stream_capi.avro.framing import SchemaKey
from stream_capi.core.flow import Backoff
from stream_capi.errors import FieldsEncrypted, StreamCapiError, Unavailable, is_encrypted
from stream_capi.model import internal_error
from stream_capi.pipeline.source import Coded, Source

LIMIT = 4  # schemas that are asked for at a time
_REST = Backoff(0.2, 10.0, jitter=0.5)
_Key = tuple[str, SchemaKey]


class LookupObserver(Protocol):
    """Notified when the first of a topic's schemas can't be looked up and when the last one can again, and of the first one
    whose rules encrypt a mapped field."""

    def registry(self, topic: str, schema: str, reason: str | None) -> None: ...


class Lookups:
    """Looks up schemas. ``start`` runs a worker; ``answered`` gets each answer, even if the schema is no longer wanted."""

    def __init__(
        self,
        start: Callable[[Coroutine[Any, Any, None]], object],
        answered: Callable[[Source, SchemaKey, Coded], None],
        observer: LookupObserver,
        random: Callable[[], float],
    ) -> None:
        self._start = start
        self._answered = answered
        self._observer = observer
        self._random = random
        self._wanted: set[_Key] = set()
        self._new: OrderedDict[_Key, Source] = OrderedDict()
        self._failed: OrderedDict[_Key, Source] = OrderedDict()
        self._failed_next = False
        self._askers = 0

    def want(self, source: Source, key: SchemaKey) -> None:
        """Ask for this schema until there is an answer."""
        self._wanted.add((source.topic, key))
        self._new[source.topic, key] = source
        if self._askers < LIMIT:
            self._askers += 1
            self._start(self._ask())

    def forget(self, source: Source, key: SchemaKey) -> None:
        """Nothing waits for this schema any more. A look-up under way still ends."""
        self._wanted.discard((source.topic, key))
        self._new.pop((source.topic, key), None)
        self._failed.pop((source.topic, key), None)
        source.waiting_for.pop(key, None)

    async def _ask(self) -> None:
        failures = 0
        try:
            while (found := self._next()) is not None:
                source, key = found
                error = await self._ask_for(source, key)
                if error is not None:
                    self._fails(source, key, error)
                if error is None or isinstance(error, FieldsEncrypted):  # which asking again doesn't change
                    failures = 0
                    continue
                failures += 1
                await asyncio.sleep(_REST.delay(failures, self._random()))
                if (source.topic, key) in self._wanted and (source.topic, key) not in self._new:
                    self._failed[source.topic, key] = source
        finally:
            self._askers -= 1

    def _next(self) -> tuple[Source, SchemaKey] | None:
        self._failed_next = not self._failed_next
        first, second = (self._failed, self._new) if self._failed_next else (self._new, self._failed)
        queue = first or second
        if not queue:
            return None
        (_, key), source = queue.popitem(last=False)
        return source, key

    async def _ask_for(self, source: Source, key: SchemaKey) -> Unavailable | None:
        """Ask once; why there is nothing to go on with, or None."""
        codec: Coded
        try:
            codec = await source.load(key)
        except Unavailable as error:
            return error
        except (MemoryError, StreamCapiError):
            raise
        except Exception as error:  # the schema's fault, as nothing else is under way
            codec = internal_error(error)
        self._wanted.discard((source.topic, key))
        if source.waiting_for.pop(key, None) is not None and not source.waiting_for:
            self._observer.registry(source.topic, str(key), None)
        self._answered(source, key, codec)
        return None

    def _fails(self, source: Source, key: SchemaKey, error: Unavailable) -> None:
        if (source.topic, key) in self._wanted:
            reason, waiting_for = str(error), source.waiting_for
            is_first = isinstance(error, FieldsEncrypted) and not any(map(is_encrypted, waiting_for.values()))
            if is_first or not waiting_for:
                self._observer.registry(source.topic, str(key), reason)
            waiting_for[key] = reason
