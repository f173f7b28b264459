"""The live page in a real Chromium, over the whole platform."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import changing_symbols
from tests.platform_process import Platform

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


def test_at_least_eight_symbols_change_and_the_page_says_what_they_are(page: Page) -> None:
    expect(page.locator("#connection")).to_have_text("connected", timeout=30_000)
    expect(page.locator("#feed")).to_have_text("feed live", timeout=60_000)
    expect(page.locator("#simulated")).to_contain_text("Simulated data")
    assert len(changing_symbols(page, 8)) >= 8
    row = page.locator("tr[data-symbol='LSE:VOD']")
    expect(row.locator("td.delay")).to_have_text("15 min delayed")


def test_the_chart_fills_from_the_store_and_its_last_candle_moves(page: Page) -> None:
    page.locator("tr[data-symbol='BINANCE:BTCUSDT']").click()
    expect(page.locator("#title")).to_contain_text("BINANCE:BTCUSDT")
    chart = page.locator("#chart")
    expect(chart).to_have_attribute("data-bars", r_number(100), timeout=60_000)
    close = chart.get_attribute("data-close")
    expect(chart).not_to_have_attribute("data-close", close or "", timeout=60_000)
    expect(page.locator("#countdown")).to_contain_text("closes in")


def test_intervals_switch_and_are_remembered(page: Page) -> None:
    page.locator("tr[data-symbol='BINANCE:ETHUSDT']").click()
    page.get_by_role("button", name="5m", exact=True).click()
    expect(page.locator("#chart")).to_have_attribute("data-interval", "5m")
    page.reload()
    expect(page.locator("#title")).to_contain_text("BINANCE:ETHUSDT")
    expect(page.get_by_role("button", name="5m", exact=True)).to_have_attribute("aria-pressed", "true")


def test_the_keyboard_walks_the_list_and_removes_and_adds_symbols(page: Page) -> None:
    rows = page.locator("tr[data-symbol]")
    expect(rows.nth(1)).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#filter")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#watchlist")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1)).to_have_attribute("aria-selected", "true")
    symbol, following = (rows.nth(n).get_attribute("data-symbol") or "" for n in (1, 2))
    expect(page.locator("#title")).to_contain_text(symbol)
    page.keyboard.press("Enter")
    expect(page.locator("#chart")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Delete")
    expect(page.locator(f"tr[data-symbol='{symbol}']")).to_have_count(0)
    expect(page.locator(f"tr[data-symbol='{following}']")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#said")).to_have_text(f"{symbol} removed from the list")
    page.reload()
    expect(page.locator(f"tr[data-symbol='{following}']")).to_have_attribute("aria-selected", "true")
    expect(page.locator(f"tr[data-symbol='{symbol}']")).to_have_count(0)
    page.locator("#symbol").fill(symbol.lower())
    page.keyboard.press("Enter")
    expect(page.locator(f"tr[data-symbol='{symbol}']")).to_have_count(1)
    page.locator("#symbol").fill("NOWHERE:NOTHING")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("NOWHERE:NOTHING is not a symbol of this platform")


def test_sorting_and_searching(page: Page) -> None:
    rows = page.locator("tr[data-symbol]")
    expect(rows.nth(7)).to_be_visible()
    page.get_by_role("button", name="Symbol", exact=True).click()
    expect(page.locator("th.symbol")).to_have_attribute("aria-sort", "ascending")
    names = [row.get_attribute("data-symbol") for row in rows.all()]
    assert names == sorted(names, key=str)
    page.locator("#filter").fill("btc")
    expect(page.locator("#watchlist")).to_have_attribute("aria-rowcount", "4")
    assert [row.get_attribute("data-symbol") for row in rows.all()] == [
        "BINANCE:BTCUSDT", "BITSTAMP:BTCUSD", "COINBASE:BTCUSD",
    ]  # fmt: skip
    page.reload()
    expect(page.locator("th.symbol")).to_have_attribute("aria-sort", "ascending")


@pytest.mark.parametrize("stored", ['"', "[1, {}]", "17", '{"column": "nothing"}', "null"])
def test_garbage_in_the_browser_s_store_is_no_harm(page: Page, stored: str) -> None:
    names = ("watched", "selected", "interval", "zone", "theme", "sort")
    page.evaluate(
        "([names, text]) => names.forEach((n) => localStorage.setItem(`marketdata.${n}`, text))", [names, stored]
    )
    page.reload()
    expect(page.locator("#connection")).to_have_text("connected", timeout=30_000)
    page.locator("#symbol").fill("TEST:TICK")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_contain_text("TEST:TICK")


def test_a_phone_scrolls_in_one_direction_only(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("#watchlist tbody tr").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for column in ("symbol", "last", "percent", "session", "delay", "age"):
        expect(page.locator(f"tr[data-symbol='LSE:VOD'] td.{column}")).to_be_visible()


def test_the_page_goes_on_by_itself_after_the_web_server_was_killed(page: Page, platform: Platform) -> None:
    expect(page.locator("#connection")).to_have_text("connected", timeout=30_000)
    page.allowed_problem = "ERR_"  # type: ignore[attr-defined]  # the browser logs each refused connection
    page.evaluate("globalThis.sameDocument = true")
    platform.child("manage.py", "serve").kill()
    expect(page.locator("#connection")).not_to_have_text("connected", timeout=30_000)
    expect(page.locator("#connection")).to_have_text("connected", timeout=60_000)
    assert len(changing_symbols(page, 3)) >= 3
    assert page.evaluate("globalThis.sameDocument") is True


def test_an_operator_logs_in_and_switches_the_source_off_and_on(page: Page, platform: Platform) -> None:
    expect(page.locator("#feed")).to_have_text("feed live", timeout=60_000)
    admin = page.context.new_page()
    admin.goto(f"{platform.url}/admin/login/?next=/admin/marketdata/upstreamswitch/")
    admin.locator("#id_username").fill("admin")
    admin.locator("#id_password").fill(platform.password)
    admin.get_by_role("button", name="Log in").click()
    admin.get_by_label("Upstream traffic allowed").uncheck()
    admin.get_by_label("Reason").fill("a look at it")
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#feed")).to_have_text("feed stopped by the operator", timeout=30_000)
    expect(page.locator("#feed")).to_have_attribute(
        "title", "Upstream traffic is off: admin switched it off (a look at it)."
    )
    admin.goto(f"{platform.url}/admin/marketdata/upstreamswitch/")
    admin.get_by_label("Upstream traffic allowed").check()
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#feed")).to_have_text("feed live", timeout=30_000)
    assert len(changing_symbols(page, 3)) >= 3


def r_number(least: int) -> re.Pattern[str]:
    """Any whole number with at least as many digits."""
    return re.compile(rf"^\d{{{len(str(least))},}}$")
