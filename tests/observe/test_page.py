"""The status page as a person sees it, in Chromium."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from stream_capi.observe.admin_server import AdminServer
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.what_to_do import what_to_do
from tests.observe import statuses

pytestmark = pytest.mark.browser

_ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
# The contrast of every text with what is behind it, as WCAG reckons it; the worst one, and where it is.
_CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  let worst = [99, ""];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || ["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName)) continue;
    let behind = element, back = [0, 0, 0, 0];
    for (; behind; behind = behind.parentElement) {
      back = rgb(getComputedStyle(behind).backgroundColor);
      if (back.length === 3 || back[3] > 0) break;
    }
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(back)].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < worst[0]) worst = [ratio, node.data];
  }
  return worst;
}"""


class Shown:
    """A server on a thread of its own, showing the status that the test sets; and what the browser complained of."""

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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. A machine without one skips these tests, but not where all must be shown."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium here, and CI must not pass without it: install the package chromium")
        pytest.skip("there is no Chromium here: install the package chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=list(_ARGUMENTS))
        yield launched
        launched.close()


@pytest.fixture
def shown() -> Iterator[Shown]:
    server = Shown()
    yield server
    server.stop()


@pytest.fixture
def page(browser: Browser, shown: Shown) -> Iterator[Page]:
    """A page that must be content to the end: no error, no broken policy, no question to another origin."""
    opened = browser.new_page()
    opened.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)
    shown.watch(opened)
    yield opened
    opened.close()
    assert shown.complaints == []
    assert shown.asked <= {tuple(urlsplit(shown.origin)[:2])}


def test_a_member_at_work_shows_its_figures(page: Page, shown: Shown) -> None:
    shown.document = status = statuses.busy()
    page.goto(shown.origin)
    expect(page.locator("#state")).to_have_text("ready")
    expect(page.locator("#facts")).to_contain_text("group stream-capi")
    expect(page.locator("#rate")).to_have_text(f"{round(status['throughput']['per_second']):,}")
    expect(page.locator("#p99")).to_contain_text("s")
    expect(page.locator("#fresh")).to_have_text("100 %")
    expect(page.locator("#lag")).to_have_text(f"{sum(entry['lag'] for entry in status['partitions']):,}")
    expect(page.locator("#partitions tbody tr")).to_have_count(6)
    row = page.locator("#partitions tbody tr", has_text="leads [2]")
    expect(row).to_contain_text(status["partitions"][2]["oldest"]["why"])
    expect(page.locator("#codes tbody tr")).to_contain_text("missing_field")
    leads = page.locator(".lane", has_text="generate_lead")
    expect(leads.locator("dl")).to_contain_text("email93 %phone61 %")
    expect(page.locator("#pixels tbody tr")).to_contain_text("open")
    assert page.locator("#spark .line").get_attribute("d") != ""


def test_it_goes_on_without_being_loaded_again(page: Page, shown: Shown) -> None:
    page.goto(shown.origin)
    expect(page.locator("#state")).to_have_text("not ready")
    expect(page.locator("#held")).to_contain_text("joining group stream-capi")
    page.evaluate("window.same = true")
    shown.document = statuses.busy()
    expect(page.locator("#state")).to_have_text("ready")
    expect(page.locator("#held")).to_be_empty()
    shown.document = statuses.held()
    expect(page.locator("#state")).to_have_text("held")
    assert page.evaluate("window.same") is True


def test_a_member_without_anything_to_show_says_so(page: Page, shown: Shown) -> None:
    page.goto(shown.origin)
    expect(page.locator("#partitions")).to_have_text("No partition is assigned to this member.")
    expect(page.locator("#coverage")).to_have_text("No event was mapped yet.")
    expect(page.locator("#codes")).to_have_text("None since start.")
    for figure in ("#p50", "#p99", "#fresh", "#lag", "#request"):
        expect(page.locator(figure)).to_have_text("–")


def test_a_hold_is_the_first_thing_seen_with_its_reason_and_what_to_do(page: Page, shown: Shown) -> None:
    shown.document = statuses.held()
    page.goto(shown.origin)
    banner = page.get_by_role("alert")
    expect(banner).to_contain_text("main is held: 401")
    expect(banner).to_contain_text(what_to_do("401"))
    expect(banner).to_contain_text("tried again in")
    expect(page).to_have_title("held – stream-capi")
    box = banner.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 400, "above everything else, without scrolling"
    why = page.locator("#partitions tbody tr").first
    expect(why).to_contain_text("held: 401")


def test_moments_go_on_without_the_alert_being_read_out_again(page: Page, shown: Shown) -> None:
    shown.document = statuses.held()
    page.goto(shown.origin)
    expect(page.get_by_role("alert")).to_contain_text("tried again in 15 s")
    page.locator("#held section").evaluate("(section) => { section.dataset.same = 'yes'; }")
    later = statuses.held()
    later["held"][0]["next_probe_seconds"] = 3.0
    shown.document = later
    expect(page.get_by_role("alert")).to_contain_text("tried again in 3 s")
    assert page.locator("#held section").get_attribute("data-same") == "yes"


def test_what_is_paused_by_configuration_is_said_and_is_no_fault(page: Page, shown: Shown) -> None:
    shown.document = statuses.busy()
    reason = "paused by configuration"
    action = what_to_do("paused_by_configuration")
    shown.document["paused"] = [{"subject": "pixel braked", "reason": reason, "what_to_do": action}]
    braked = {"pixel": "braked", "state": "paused", "key": "file", "key_fault": None}
    shown.document["pixels"].append(braked)
    first, second, third = shown.document["partitions"][:3]
    first.update(paused_by_configuration="all", oldest=None)
    waits = {"offset": 1, "seconds": None, "state": "paused", "why": reason}
    second.update(paused_by_configuration="full", oldest=waits)
    third.update(paused_by_configuration="some", oldest=waits)
    page.goto(shown.origin)
    expect(page.locator("#state")).to_have_text("ready")
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator("#paused")).to_contain_text(f"pixel braked: {reason}")
    expect(page.locator("#paused")).to_contain_text(action)
    rows = page.locator("#partitions tbody tr")
    expect(rows.nth(0)).to_contain_text(reason)
    expect(rows.nth(1)).to_contain_text("full of events that are paused by configuration")
    expect(rows.nth(2)).to_contain_text(reason)
    expect(page.locator("#pixels tbody tr", has_text="braked").locator(".tag")).to_have_text("paused")


def test_what_mends_itself_is_a_notice(page: Page, shown: Shown) -> None:
    shown.document = statuses.busy()
    shown.document["notices"] = [{"subject": "main", "reason": "throttled: 429", "what_to_do": what_to_do("429")}]
    page.goto(shown.origin)
    expect(page.locator("#notices")).to_contain_text("main: throttled: 429")
    expect(page.locator("#state")).to_have_text("ready, with notices")


def test_names_are_text_whatever_they_look_like(page: Page, shown: Shown) -> None:
    evil = "<img src=x onerror=window.run=1><script>window.run=1</script>"
    shown.document = statuses.held()
    shown.document["group"] = evil
    shown.document["held"][0]["subject"] = evil
    shown.document["partitions"][0]["topic"] = evil
    shown.document["lanes"][0] |= {"pixel": evil, "mapped": 1}
    shown.document["dead_letters"] = [{"topic": evil, "code": evil, "count": 1}]
    page.goto(shown.origin)
    expect(page.locator("#partitions")).to_contain_text(evil)
    for place in ("#facts", "#held", "#coverage", "#codes"):
        expect(page.locator(place)).to_contain_text(evil)
    assert page.locator("img").count() == 0
    assert page.evaluate("window.run") is None


def test_the_policy_stops_a_script_that_gets_in_all_the_same(page: Page, shown: Shown) -> None:
    page.goto(shown.origin)
    expect(page.locator("#state")).to_have_text("not ready")
    outcome = page.evaluate("""() => {
      const script = document.createElement("script");
      try { script.textContent = "window.run = 1"; } catch (error) { return error.name; }
      document.body.append(script);
      return String(window.run);
    }""")
    assert outcome in ("TypeError", "undefined")
    assert shown.complaints, "the browser tells of the broken policy"
    shown.complaints.clear()


def test_a_program_that_answers_no_more_is_told_from_one_that_stands_still(page: Page, shown: Shown) -> None:
    shown.document = statuses.busy()
    page.goto(shown.origin)
    expect(page.locator("#state")).to_have_text("ready")
    shown.stop()
    expect(page.locator("#state")).to_have_text("no answer")
    expect(page.locator("body")).to_have_class("stale")
    shown.complaints[:] = [text for text in shown.complaints if "ERR_CONNECTION" not in text]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_light_and_dark(page: Page, shown: Shown, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for status in (statuses.busy(), statuses.held(), statuses.empty()):
        shown.document = status
        page.goto(shown.origin)
        expect(page.locator("#updated")).to_contain_text("updated at")
        back = page.evaluate("getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(back) < 150) == (scheme == "dark")
        ratio, text = page.evaluate(_CONTRAST)
        assert ratio >= 4.5, f"{text!r} has a contrast of {ratio:.2f}"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_makes_it_scroll_sideways(page: Page, shown: Shown, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for status in (statuses.busy(), statuses.held()):
        name = "a_very_long_name_without_a_break_" * 7
        status["group"] = status["partitions"][0]["topic"] = status["pixels"][0]["pixel"] = name
        status["lanes"][0] |= {"pixel": name, "mapped": 1}
        status["dead_letters"] = [{"topic": name, "code": "missing_field", "count": 1}]
        status["notices"] = [{"subject": name, "reason": "throttled: 429", "what_to_do": "Nothing."}]
        shown.document = status
        page.goto(shown.origin)
        expect(page.locator("#updated")).to_contain_text("updated at")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_it_can_be_read_without_being_seen(page: Page, shown: Shown) -> None:
    shown.document = statuses.busy()
    page.goto(shown.origin)
    expect(page.locator("#partitions table")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "en"
    for section in page.locator("main section").all():
        label = section.get_attribute("aria-labelledby")
        assert page.locator(f"#{label}").count() == 1
    assert page.locator("table").count() == page.locator("table caption").count() >= 3
    assert page.locator("th:not([scope])").count() == 0
    assert "at most" in (page.get_by_role("img").get_attribute("aria-label") or "")
    expect(page.get_by_role("status").first).to_have_text("ready")
