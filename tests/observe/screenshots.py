"""Takes screenshots of the status page in each of its states: ``python -m tests.observe.screenshots FOLDER``.

Three widths, light and dark, as PNG. ``--docs`` writes those that docs/operations.md shows, as WebP below 100 kB each.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.observe.shown import Shown, launch
from tests.observe.statuses import STATES

WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1280}
SCHEMES = ("light", "dark")
DOCS = Path(__file__).parents[2] / "docs" / "pages"
SHOWN_IN_DOCS = (
    ("at-work", "desktop", "light"),
    ("topic-held", "desktop", "light"),
    ("not-read", "phone", "dark"),
    ("notices", "desktop", "dark"),
)
MOST_BYTES = 100_000


def file_name(state: str, width: str, scheme: str, form: str = "webp") -> str:
    """The file name of a screenshot."""
    return f"{state}-{width}-{scheme}.{form}"


def draw(page: Page, shown: Shown, state: str, width: str, scheme: str, form: str = "webp") -> bytes:
    """A screenshot of the whole page in one state."""
    shown.document = STATES[state]()
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": WIDTHS[width], "height": 800})
    page.goto(shown.origin)
    expect(page.locator("#updated")).to_contain_text("updated at")
    height = page.evaluate("document.documentElement.scrollHeight")
    answer = page.context.new_cdp_session(page).send(
        "Page.captureScreenshot",
        {"format": form, **({"quality": 26} if form == "webp" else {}), "captureBeyondViewport": True,
         "clip": {"x": 0, "y": 0, "width": WIDTHS[width], "height": height, "scale": 1}},
    )  # fmt: skip
    return base64.b64decode(answer["data"])


def main(arguments: list[str]) -> None:
    """Write the screenshots."""
    docs = "--docs" in arguments
    folder = DOCS if docs else Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    wanted = SHOWN_IN_DOCS if docs else [(s, w, c) for s in STATES for w in WIDTHS for c in SCHEMES]
    shown = Shown()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        page = browser.new_page()
        for state, width, scheme in wanted:
            form = "webp" if docs else "png"
            drawn = draw(page, shown, state, width, scheme, form)
            (folder / file_name(state, width, scheme, form)).write_bytes(drawn)
        browser.close()
    shown.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
