"""The status page in Chromium, from a server that shows the status that a test sets."""

from __future__ import annotations

import asyncio
import shutil
import threading
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

from stream_capi.observe.admin_server import AdminServer
from stream_capi.observe.metrics import Metrics
from tests.observe import statuses

_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


def chromium() -> str | None:
    """The path of Chromium, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def launch(playwright: Playwright) -> Browser:
    """Start a browser that makes no requests by itself."""
    return playwright.chromium.launch(executable_path=chromium(), args=list(_ARGUMENTS))


class Shown:
    """An admin server in a thread that shows ``document``; collects the browser's errors and the origins it asked."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = statuses.empty()
        self.complaints: list[str] = []
        self.asked: set[tuple[str, str]] = set()
        self._loop = asyncio.new_event_loop()
        self._server = AdminServer("127.0.0.1", 0, Metrics(()), self)
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(30)

    alive = True

    def not_ready(self) -> list[str]:
        return []

    def status(self) -> Any:
        return self.document

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    def watch(self, page: Page) -> None:
        def on_console(message: ConsoleMessage) -> None:
            stopped = not self._thread.is_alive()  # the page goes on asking, to its last moment
            if not (stopped and "ERR_CONNECTION" in message.text):
                self.complaints.append(message.text)

        page.on("console", on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.asked.add(urlsplit(request.url)[:2]))

    def stop(self) -> None:
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(30)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
