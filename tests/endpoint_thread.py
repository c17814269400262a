"""The mock endpoint on a separate thread, for tests that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlsplit

from stream_capi.sandbox.fault_script import Action, RequestInfo
from stream_capi.sandbox.mock_api import MockEndpoint, SeenRequest
from tests.program import KEY, PIXEL_ID

Answering = Callable[[RequestInfo], Action | None]


class Endpoint:
    """A strict mock endpoint. Tests may change its answers at any time, from their own thread."""

    def __init__(self, answer: Answering | None = None, **options: Any) -> None:
        options.setdefault("keys", {PIXEL_ID: KEY})
        self.mock = MockEndpoint(**options)
        self.mock.answer = answer
        self._lock = threading.Lock()
        self._answered: Counter[str] = Counter()
        self._waiting: list[SeenRequest] = []
        self._seen = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._await(self.mock.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._await(self.mock.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _await(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    @property
    def url(self) -> str:
        return self.mock.url

    @property
    def address(self) -> str:
        """``host:port`` of the endpoint."""
        return urlsplit(self.url).netloc

    def answer(self, answering: Answering | None) -> None:
        """Answer like this from now on; None restores the default."""
        self.mock.answer = answering

    def release(self, awaited: asyncio.Event) -> None:
        """Send the answers that wait for this event (``Action.until``)."""
        self._loop.call_soon_threadsafe(awaited.set)

    def start(self) -> None:
        """Listen again on the same port."""
        self._await(self.mock.start())

    def stop(self) -> None:
        """Stop listening; ``start`` uses the same port again."""
        self._await(self.mock.stop())

    def answered(self) -> Counter[str]:
        """How often each dedupe id was answered with a 200."""
        with self._lock:
            seen = len(self.mock.requests)
            waiting, self._waiting = [*self._waiting, *self.mock.requests[self._seen : seen]], []
            self._seen = seen
            for record in waiting:
                if record.answered:
                    if record.accepted and record.status == 200:
                        self._answered.update(record.dedupe_ids)
                elif record.status is not None:  # a request without a status is never answered
                    self._waiting.append(record)
            return self._answered.copy()

    def assert_valid(self) -> None:
        """Assert that every request so far was valid by the API document."""
        assert not self.mock.violations, self.mock.violations[:5]
