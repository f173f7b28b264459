"""A thousand watched symbols, all of them changing: rows exist for what is in view alone, and the page stays smooth."""

import json
import threading

import pytest
from playwright.sync_api import Locator, Page, expect

from infrastructure.persistence import Database
from infrastructure.simulator.catalogue import synthetic
from marketdata.models import Symbol
from tests.browser.site import DEADLINE_S, Site
from tests.live.speaker import Speaker

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

SYMBOLS = [one.name for one in synthetic(1000)]
MOST_ROWS = 80  # in view and around it
FREEZE_MS = 1500  # a page that draws a thousand rows per tick is far beyond, on any machine
REMEMBER = f"localStorage.setItem('marketdata.watched', JSON.stringify({json.dumps(SYMBOLS)}));"
WATCH_TASKS = """
globalThis.longest = 0;
new PerformanceObserver((list) => {
  for (const task of list.getEntries()) globalThis.longest = Math.max(globalThis.longest, task.duration);
}).observe({ type: "longtask" });
"""
SCROLL = """async () => {
  const box = document.querySelector(".scroll");
  for (let at = 0; at < box.scrollHeight; at += 700) {
    box.scrollTop = at;
    await new Promise((frame) => requestAnimationFrame(frame));
  }
}"""


class Ticker:
    """Quotes of all symbols, one block after another, until it is stopped."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rounds = 0

    def __enter__(self) -> "Ticker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self.rounds += 1
            for number, symbol in enumerate(SYMBOLS):
                self._speaker.quote(symbol, number + self.rounds / 100)
                if self._stopping.wait(0.0005):
                    return


@pytest.fixture
def crowd(database: Database, site: Site) -> tuple[Page, Speaker]:
    """A page on a thousand symbols, each with a price, and what speaks to it."""
    Symbol.objects.bulk_create(Symbol(key=key, description=f"Synthetic {key[-4:]}") for key in SYMBOLS)
    site.speaker.quotes({symbol: float(number) for number, symbol in enumerate(SYMBOLS)})
    site.context.add_init_script(REMEMBER + WATCH_TASKS)
    page = site.open()
    expect(last(page, SYMBOLS[0])).to_have_text("0.00", timeout=DEADLINE_S * 1000)
    return page, site.speaker


def last(page: Page, symbol: str) -> Locator:
    return page.locator(f"tr[data-symbol='{symbol}'] td.last")


def rows(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all("tr[data-symbol]", "(rows) => rows.map((row) => row.dataset.symbol)")
    return found


def test_rows_exist_for_what_is_in_view_and_show_the_newest_price(crowd: tuple[Page, Speaker]) -> None:
    page, speaker = crowd
    grid = page.locator("#watchlist")
    expect(grid).to_have_attribute("aria-rowcount", "1001")
    assert rows(page) == SYMBOLS[: len(rows(page))]
    assert len(rows(page)) <= MOST_ROWS
    speaker.quotes({SYMBOLS[-1]: 12.5, SYMBOLS[0]: 13.5})
    expect(last(page, SYMBOLS[0])).to_have_text("13.50")
    grid.focus()
    page.keyboard.press("End")
    expect(last(page, SYMBOLS[-1])).to_have_text("12.50")
    row = page.locator(f"tr[data-symbol='{SYMBOLS[-1]}']")
    expect(row).to_be_in_viewport()
    expect(row).to_have_attribute("aria-rowindex", "1001")
    expect(grid).to_have_attribute("aria-activedescendant", row.get_attribute("id") or "")
    for _ in range(2):
        page.locator("th.last button").click()
    page.locator(".scroll").evaluate("(box) => { box.scrollTop = 0 }")
    expect(last(page, SYMBOLS[-2])).to_be_in_viewport()
    assert rows(page)[:2] == [SYMBOLS[998], SYMBOLS[997]]
    page.locator("#filter").fill("sym0500")
    expect(grid).to_have_attribute("aria-rowcount", "2")
    assert rows(page) == ["TEST:SYM0500"]


def test_it_stays_smooth_while_all_tick_and_one_scrolls_and_sorts(crowd: tuple[Page, Speaker]) -> None:
    page, speaker = crowd
    loading = page.evaluate("globalThis.longest")
    page.evaluate("globalThis.longest = 0")
    with Ticker(speaker) as ticker:
        expect(page.locator("td[data-flash]").first).to_be_visible(timeout=DEADLINE_S * 1000)
        for column in ("last", "last", "age", "symbol"):
            page.evaluate(SCROLL)
            page.locator(f"th.{column} button").click()
        page.evaluate(SCROLL)
        assert len(rows(page)) <= MOST_ROWS
    longest = page.evaluate("globalThis.longest")
    print(f"\nlongest task: {loading:g} ms while loading, {longest:g} ms while {ticker.rounds} x 1000 quotes came")
    assert longest < FREEZE_MS
