"""The status page in Chromium, as a person sees it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from stream_capi.observe.what_to_do import what_to_do
from tests.observe import screenshots, statuses
from tests.observe.shown import Shown, chromium, launch

pytestmark = pytest.mark.browser

# The lowest contrast of a text with its background by the formula of WCAG, and the text's place.
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Without it the tests are skipped, and fail in CI."""
    if chromium() is None:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium here, and CI must not pass without it: install the package chromium")
        pytest.skip("there is no Chromium here: install the package chromium")
    with sync_playwright() as playwright:
        launched = launch(playwright)
        yield launched
        launched.close()


@pytest.fixture
def shown() -> Iterator[Shown]:
    server = Shown()
    yield server
    server.stop()


@pytest.fixture
def page(browser: Browser, shown: Shown) -> Iterator[Page]:
    """A page; at its end there must be no error, no violation of the policy, and no request to another origin."""
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
    expect(page.locator("#dead-kept")).to_have_text("in stream-capi.dead-letters, kept for 7 days")
    leads = page.locator(".lane", has_text="generate_lead")
    expect(leads).to_contain_text("1,000 events in the last hour, 20,000 in the last day")
    expect(leads.locator("tr", has_text="email")).to_have_text("email93 %88 %")
    expect(leads.locator("tr", has_text="phone")).to_have_text("phone61 %58 %")
    expect(page.locator("#lanes")).to_contain_text(
        "main generate_lead: 760 delivered since start, 100 % within 5 minutes"
    )
    expect(page.locator("#pixels tbody tr")).to_contain_text("open")
    assert page.locator("#spark .line").get_attribute("d") != ""


def test_dead_letters_that_are_kept_without_end_are_said_to_be(page: Page, shown: Shown) -> None:
    shown.document = statuses.kept_without_end()
    page.goto(shown.origin)
    expect(page.locator("#dead-kept")).to_have_text(
        "in stream-capi.dead-letters, kept forever: with personal data as it came; set retention.ms, or purge"
    )
    shown.document = statuses.empty()
    expect(page.locator("#dead-kept")).to_have_text("in stream-capi.dead-letters; how long it keeps them is not known")


def test_values_that_look_wrong_are_named_in_a_line_each_with_what_to_do(page: Page, shown: Shown) -> None:
    shown.document = statuses.busy()
    page.goto(shown.origin)
    lines = page.locator("#suspects li")
    expect(lines).to_have_count(3)
    expect(lines.nth(0)).to_contain_text(
        "leads generate_lead: user_data.user_id from user_id: one value in about 164 of 400 events in the last hour, "
        "1,148 of 7,600 in the last day"
    )
    expect(lines.nth(1)).to_contain_text(
        "views page_view: user_data.client_ip_address from client_ip_address: a private address in 310 of 1,000 events"
    )
    expect(lines.nth(2)).to_contain_text(
        "user_data.user_id from user_id: fewer than six characters in 12 of 400 events"
    )
    href = lines.nth(1).get_by_role("link").get_attribute("href")
    assert href == "runbook#streamcapisuspectaddresses"
    page.goto(f"{shown.origin}/{href}")
    expect(page.locator("#streamcapisuspectaddresses")).to_be_in_viewport()


def test_before_an_hour_has_passed_the_page_says_since_when(page: Page, shown: Shown) -> None:
    shown.document = statuses.since_a_while()
    page.goto(shown.origin)
    lane = page.locator(".lane", has_text="generate_lead")
    expect(lane.locator("thead")).to_have_text(re.compile(r"IdentifierSharesince \d\d:\d\d \S+$"))
    expect(page.locator("#suspects li").first).to_have_text(
        re.compile(r"one value in about 164 of 400 events since \d\d:\d\d \S+ · What to do$")
    )
    shown.document["identifiers"] |= {"hour_seconds": 3600.0, "day_seconds": 40_000.0}
    expect(lane.locator("thead")).to_have_text(re.compile(r"IdentifierSharelast hoursince \d\d:\d\d \S+$"))


def test_many_sources_are_folded(page: Page, shown: Shown) -> None:
    shown.document = statuses.busy()
    first = shown.document["identifiers"]["sources"][0]
    shown.document["identifiers"]["sources"] = [first | {"source": f"topic-{number}"} for number in range(300)]
    page.goto(shown.origin)
    expect(page.locator("#coverage .lane")).to_have_count(6)
    expect(page.get_by_text("294 more sources")).to_be_visible()


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
    expect(page.locator("#suspects")).to_have_text("None in this time.")
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


def test_a_held_topic_and_its_dead_letters_say_which_rule_fails(page: Page, shown: Shown) -> None:
    shown.document = status = statuses.topic_held()
    rule = {"code": "missing_field", "field": "event_source_url", "source": '"page.url"', "count": 173}
    status["held"][0] |= {"detail": '173 of 187: missing_field event_source_url (from "page.url")', "rejected": [rule]}
    status["dead_letters"] = [{"topic": "leads", "code": "missing_field", "count": 187, "rules": [rule]}]
    page.goto(shown.origin)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text('173 of 187: missing_field event_source_url (from "page.url")')
    expect(page.locator("#codes tbody tr")).to_contain_text('173 of 187: event_source_url (from "page.url")')
    page.locator("#held section").evaluate("(section) => { section.dataset.same = 'yes'; }")
    later = statuses.topic_held()
    later["held"][0] |= {"detail": "174 of 188: missing_field event_source_url"}
    shown.document = later
    expect(alert).to_contain_text("174 of 188")
    assert page.locator("#held section").get_attribute("data-same") == "yes", "a count is no news to be read out"


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
    first["waits"] = {"state": "paused", "why": reason}
    second.update(paused_by_configuration="full", oldest=waits, waits=first["waits"])
    third.update(paused_by_configuration="some", oldest=waits, waits=first["waits"])
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
    shown.document["lanes"][0] |= {"pixel": evil, "delivered": 1}
    part = {"events": 1, "carry": {"email": 1}}
    shown.document["identifiers"]["sources"] = [{"source": evil, "event": evil, "hour": part, "day": part}]
    looks = {"field": evil, "path": evil, "reason": "shared", "why": "one value", "runbook": evil}
    parts = {"hour": {"count": 1, "of": 2}, "day": {"count": 1, "of": 2}}
    shown.document["identifiers"]["suspects"] = [{"source": evil, "event": evil, **looks, **parts}]
    shown.document["dead_letters"] = [{"topic": evil, "code": evil, "count": 1}]
    page.goto(shown.origin)
    expect(page.locator("#partitions")).to_contain_text(evil)
    for place in ("#facts", "#held", "#coverage", "#lanes", "#suspects", "#codes"):
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


@pytest.mark.cases(1)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_in_light_and_dark(page: Page, shown: Shown, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for status in (make() for make in statuses.STATES.values()):
        shown.document = status
        page.goto(shown.origin)
        expect(page.locator("#updated")).to_contain_text("updated at")
        back = page.evaluate("getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(back) < 150) == (scheme == "dark")
        ratio, text = page.evaluate(_CONTRAST)
        assert ratio >= 4.5, f"{text!r} has a contrast of {ratio:.2f}"


@pytest.mark.cases(1)
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_makes_it_scroll_sideways(page: Page, shown: Shown, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for status in (statuses.busy(), statuses.held()):
        name = "a_very_long_name_without_a_break_" * 7
        status["group"] = status["partitions"][0]["topic"] = status["pixels"][0]["pixel"] = name
        status["held"] = [one | {"subject": name} for one in status["held"]]
        status["skipped"] = [{"topic": name, "reason": "tombstone", "count": 1}]
        status["left_out"] = [{"field": name, "reason": "type", "count": 1}]
        status["pixels"][0]["held_by"] = [name]
        status["lanes"][0] |= {"pixel": name, "delivered": 1}
        for one in (*status["identifiers"]["sources"], *status["identifiers"]["suspects"]):
            one["source"] = one["path"] = name
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


@pytest.mark.cases(3)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("state", statuses.STATES)
def test_axe_finds_nothing_wrong(page: Page, shown: Shown, state: str, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    shown.document = statuses.STATES[state]()
    page.goto(shown.origin)
    expect(page.locator("#updated")).to_contain_text("updated at")
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_axe_finds_nothing_wrong_with_a_page_that_gets_no_answer(page: Page, shown: Shown) -> None:
    shown.document = statuses.held()
    page.goto(shown.origin)
    expect(page.locator("#state")).to_have_text("held")
    shown.stop()
    expect(page.locator("#lost")).to_contain_text("No answer since")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_all_that_can_be_done_is_reached_by_the_keyboard_in_the_order_that_is_seen(page: Page, shown: Shown) -> None:
    shown.document = statuses.topic_held()
    shown.document["left_out"] = [{"field": f"f{i}", "reason": "type", "count": 9} for i in range(9)]
    page.goto(shown.origin)
    expect(page.locator("#updated")).to_contain_text("updated at")
    reached, places = [], []
    for _ in range(6):
        page.keyboard.press("Tab")
        text, place, outline = page.evaluate(
            """() => { const it = document.activeElement, box = it.getBoundingClientRect();
            return [it.textContent, box.y + scrollY, getComputedStyle(it).outlineWidth]; }"""
        )
        reached.append(text)
        places.append(place)
        assert outline == "2px", f"{text} has no ring around it"
    assert reached == [
        *("Runbook: dead_letter_ratio", "Dead letters by code", "4 more, 36 altogether"),
        *("status as JSON", "metrics", "runbook"),
    ]
    assert places == sorted(places)


def test_a_held_pixels_lag_is_not_shown_as_nothing_in_green(page: Page, shown: Shown) -> None:
    shown.document = statuses.unread()
    page.goto(shown.origin)
    row = page.locator("#partitions tbody tr", has_text="leads [1]")
    expect(row.locator(".tag.bad")).to_contain_text("held (not read yet): 401")
    expect(row).to_contain_text("500")
    shown.document["partitions"][1]["waits"] = {"state": "unread", "why": "not read yet"}
    expect(row.locator(".tag")).to_have_text("not read yet")
    expect(row.locator(".tag")).to_have_class("tag ")
    shown.document["partitions"][1] |= {"lag": 0, "waits": None}
    expect(row.locator(".tag.good")).to_have_text("nothing")
    shown.document["partitions"][1]["lag"] = None
    expect(row.locator(".tag")).to_have_text("its end is not known yet")


def test_the_banner_leads_to_the_runbook_and_to_the_dead_letters(page: Page, shown: Shown) -> None:
    shown.document = statuses.topic_held()
    page.goto(shown.origin)
    page.get_by_role("link", name="Dead letters by code").click()
    expect(page.locator("#dead-letters")).to_be_focused()
    expect(page.locator("#dead-letters tbody tr")).to_contain_text("missing_field")
    page.get_by_role("link", name="Runbook: dead_letter_ratio").click()
    expect(page.locator(":target")).to_have_text("dead_letter_ratio")
    expect(page.locator(":target")).to_be_in_viewport()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_quiet_partitions_are_folded_and_an_open_fold_stays_open(page: Page, shown: Shown) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    shown.document = statuses.many()
    page.goto(shown.origin)
    expect(page.locator("#partitions tbody tr")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollHeight") < 2000
    fold = page.locator("details", has=page.locator("#partitions-rest"))
    expect(fold.locator("summary")).to_have_text("61 quiet partitions")
    fold.locator("summary").click()
    expect(fold.get_by_text("leads [63]")).to_be_visible()
    shown.document["partitions"][63] |= {"lag": 7, "open_events": 7}
    expect(page.locator("#partitions tbody tr")).to_have_count(4)
    expect(fold.get_by_text("leads [62]")).to_be_visible()
    for entry in shown.document["partitions"]:
        entry |= {"lag": 100, "open_events": 5}
    shown.document["partitions"][50]["waits"] = {"state": "held", "why": "held (not read yet): 401"}
    expect(fold.locator("summary")).to_have_text("56 more partitions with a lag of 5,600")
    expect(page.locator("#partitions tbody tr", has_text="leads [50]")).to_be_visible()


def test_a_stopped_partition_for_each_of_many_leaves_room_for_the_rest(page: Page, shown: Shown) -> None:
    shown.document = statuses.held()
    one = shown.document["held"][0]
    shown.document["held"] = [one | {"subject": f"leads[{number}]"} for number in range(64)]
    page.goto(shown.origin)
    expect(page.locator("#held section")).to_have_count(4)
    fold = page.locator("details", has=page.locator("#held-rest"))
    expect(fold.locator("summary")).to_have_text("60 more that are held or not ready")
    fold.locator("summary").click()
    expect(fold.locator("section").last).to_contain_text("leads[63] is held")
    expect(fold.locator(".when").last).to_contain_text("tried again in")


def test_what_was_skipped_and_left_out_is_shown_by_reason(page: Page, shown: Shown) -> None:
    shown.document = statuses.busy()
    page.goto(shown.origin)
    expect(page.locator("#skipped tbody tr").first).to_have_text("no_consentleads3,150")
    expect(page.locator("#left-out tbody tr").first).to_have_text("phoneletters310")
    expect(page.locator("#skipped-under")).to_have_text("3,162 skipped on purpose, no dead letters")
    expect(page.locator("details", has=page.locator("#left-out-rest")).locator("summary")).to_contain_text("5 more")


def test_whose_lag_it_is_is_said(page: Page, shown: Shown) -> None:
    shown.document = statuses.busy()
    page.goto(shown.origin)
    expect(page.locator("#lag-under")).to_have_text("this member's, in 6 partitions; records not committed")
    expect(page.locator("#lag-group")).to_contain_text("the whole group's: 18,230 in 12 partitions, 1")
    shown.document["lag"]["group"] = None
    expect(page.locator("#lag-group")).to_have_text("the group's is not known yet")
    shown.document["workers"] = [{"worker": 1, "answers": True}]
    expect(page.locator("#lag-under")).to_contain_text("these workers'")


def test_times_have_their_zone(browser: Browser, shown: Shown) -> None:
    context = browser.new_context(timezone_id="Asia/Kolkata", locale="en-GB")
    page = context.new_page()
    shown.document = statuses.held()
    page.goto(shown.origin)
    expect(page.locator("#updated")).to_have_text(re.compile(r"updated at \d\d:\d\d:\d\d GMT\+5:30"))
    expect(page.locator("#held .when")).to_have_text(re.compile(r"since \d\d:\d\d:\d\d GMT\+5:30, for 7\d s"))
    context.close()


def test_the_plot_has_a_scale_that_one_peak_does_not_spoil(page: Page, shown: Shown) -> None:
    shown.document = statuses.peaked()
    page.goto(shown.origin)
    expect(page.locator("#scale-top")).to_have_text("500")
    expect(page.locator("#scale-half")).to_have_text("250")
    expect(page.locator("#peak")).to_have_text("peak 52,000 a second, 35 s ago, off the scale")
    expect(page.locator("#cut")).to_be_visible()
    heights = [float(y) for y in re.findall(r",([\d.]+)", page.locator("#spark .line").get_attribute("d") or "")]
    assert sorted(heights)[60] < 50, "the others are off the ground"
    assert min(heights) == 0
    shown.document["throughput"]["series"][85] = 130
    expect(page.locator("#scale-top")).to_have_text("200")
    expect(page.locator("#cut")).to_be_hidden()


def test_a_pixel_is_not_open_while_a_topic_of_it_is_held(page: Page, shown: Shown) -> None:
    shown.document = statuses.topic_held()
    page.goto(shown.origin)
    expect(page.locator("#pixels tbody tr .tag.bad")).to_have_text("partly held")
    expect(page.locator("#pixels tbody tr")).to_contain_text("leads")


def test_events_whose_age_is_not_known_are_said_to_be_left_out(page: Page, shown: Shown) -> None:
    shown.document = statuses.noticed()
    page.goto(shown.origin)
    expect(page.locator("#untimed")).to_have_text("3 left out: the Kafka timestamp can't be true (too_old)")
    expect(page.locator("#notices")).to_contain_text("leads: the newest schema lacks mapped paths")
    link = page.locator("#notices").get_by_role("link", name="Runbook: schema_lacks_path")
    expect(link).to_have_attribute("href", "runbook#schema_lacks_path")


def test_the_screenshots_in_the_documents_are_small_and_shown() -> None:
    names = {screenshots.file_name(*of) for of in screenshots.SHOWN_IN_DOCS}
    assert {file.name for file in screenshots.DOCS.iterdir()} == names
    text = (screenshots.DOCS.parent / "operations.md").read_text()
    for name in names:
        assert (screenshots.DOCS / name).stat().st_size < screenshots.MOST_BYTES
        assert f"](pages/{name})" in text
