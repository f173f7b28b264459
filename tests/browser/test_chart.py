"""What the chart shows of bars that the test has stored and spoken."""

import json
import re
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence import CoverageStore, Database
from marketdata.models import Symbol
from tests.browser.site import DEADLINE_S, Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

COIN, SHARE = "BINANCE:BTCUSDT", "NASDAQ:AAPL"
FIRST = 29_460_000  # minutes: 2026-01-05 08:00 UTC, a Monday
NEW_YORK = {"session": "0930-1600", "timezone": "America/New_York"}


def store(site: Site, symbol: str, minutes: list[int], **information: Any) -> None:
    Symbol.objects.filter(pk=symbol).update(stream_intervals=["1m"], **information)
    series = site.bars.series(symbol, INTERVALS["1m"], bars_per_week=10_080)
    rows = [(minute * MINUTE_MS, 10.0, 12.0, 9.0, 10 + minute % 3, 5.0) for minute in minutes]
    site.bars.write(series, Bars.from_rows(rows))


def cover(site: Site, symbol: str, *ranges: tuple[int, int]) -> None:
    series = site.bars.find(symbol, INTERVALS["1m"])
    assert series
    CoverageStore(Database()).add(series, [(low * MINUTE_MS, high * MINUTE_MS) for low, high in ranges])


def shows(page: Page, **values: object) -> None:
    for name, value in values.items():
        expect(page.locator("#chart")).to_have_attribute(f"data-{name}", str(value), timeout=DEADLINE_S * 1000)


def test_older_history_comes_as_one_scrolls_back_until_there_is_none(site: Site) -> None:
    store(site, COIN, list(range(FIRST, FIRST + 2500)))
    page = site.open(COIN)
    shows(page, bars=1000, first=(FIRST + 1500) * MINUTE_MS, last=(FIRST + 2499) * MINUTE_MS)
    page.locator("#chart").focus()
    for bars in (2000, 2500):
        page.keyboard.press("Home")
        shows(page, bars=bars, first=(FIRST + 2500 - bars) * MINUTE_MS)


def test_gaps_are_marked_and_silence_is_not(site: Site) -> None:
    minutes = [n for n in range(FIRST, FIRST + 500) if not (100 <= n - FIRST < 140 or n - FIRST in (200, 300, 301))]
    store(site, COIN, minutes, session="24x7", timezone="Etc/UTC")
    cover(site, COIN, (FIRST + 150, FIRST + 250))
    page = site.open(COIN)
    shows(page, gaps=2, bars=len(minutes))
    expect(page.locator("#gaps")).to_have_text("2 gaps, 42 bars missing")


def test_nights_and_weekends_are_no_gaps(site: Site) -> None:
    friday = FIRST - 3 * 1440 + 390  # 14:30 UTC, when New York opens
    days = [friday, friday + 3 * 1440]
    store(site, SHARE, [minute for day in days for minute in range(day, day + 390)], **NEW_YORK)
    page = site.open(SHARE)
    with page.expect_response(lambda answer: "/api/v1/gaps?" in answer.url) as asked:
        page.reload()
    assert asked.value.json()["gaps"] == []
    shows(page, symbol=SHARE, gaps=0, bars=780)
    expect(page.locator("#gaps")).to_be_hidden()


def test_a_late_bar_fills_its_hole_and_the_mark_goes(site: Site) -> None:
    store(site, COIN, [FIRST, FIRST + 1, FIRST + 3], session="24x7", timezone="Etc/UTC")
    page = site.open(COIN)
    shows(page, bars=3, gaps=1)
    site.speaker.bar(f"{COIN}@1m", FIRST + 4, 7.5)
    shows(page, bars=4, close=7.5, last=(FIRST + 4) * MINUTE_MS)
    site.speaker.bar(f"{COIN}@1m", FIRST + 2, 8.5, closed=True)
    shows(page, bars=5, close=7.5, gaps=0)


def test_times_are_those_of_the_chosen_zone_and_it_is_remembered(site: Site, browser: Browser) -> None:
    store(site, SHARE, list(range(FIRST + 390, FIRST + 400)), **NEW_YORK)
    with browser.new_context(timezone_id="Asia/Tokyo") as context:
        page = context.new_page()
        page.goto(site.url)
        page.locator(f"tr[data-symbol='{SHARE}']").click()
        shows(page, symbol=SHARE, bars=10)
        said = "Candlestick chart of NASDAQ:AAPL, 1m, last price 10, of 5 Jan 2026, "
        for zone, clock in (("utc", "14:39"), ("local", "23:39"), ("exchange", "09:39")):
            page.locator("#zone").select_option(zone)
            expect(page.locator("#chart")).to_have_attribute("aria-label", said + clock)
        page.reload()
        expect(page.locator("#zone")).to_have_value("exchange")
        expect(page.locator("#chart")).to_have_attribute("aria-label", said + "09:39")


def test_the_forming_candle_counts_down_to_its_close(site: Site) -> None:
    minute = int(time.time()) // 60
    store(site, COIN, list(range(minute - 10, minute)))
    page = site.open(COIN)
    shows(page, bars=10)
    site.speaker.bar(f"{COIN}@1m", minute + 2, 8.0)  # far enough ahead for a slow machine
    shows(page, bars=11, close=8)
    expect(page.locator("#countdown")).to_contain_text("closes in ")
    site.speaker.bar(f"{COIN}@1m", minute - 3, 8.0)
    expect(page.locator("#countdown")).to_have_text("")


@pytest.mark.slow
def test_history_that_cannot_be_loaded_is_tried_again_until_it_can(site: Site) -> None:
    store(site, COIN, [FIRST, FIRST + 1])
    page = site.context.new_page()
    page.route("**/api/v1/bars?**", lambda route: route.fulfill(status=503, json={"detail": "MongoDB is away."}))
    page.goto(site.url)
    page.locator(f"tr[data-symbol='{COIN}']").click()
    expect(page.locator("#problem")).to_contain_text("could not be loaded, trying again: MongoDB is away.")
    page.unroute("**/api/v1/bars?**")
    shows(page, bars=2)
    expect(page.locator("#problem")).to_be_hidden()


def test_bars_that_closed_before_the_first_connection_are_there(site: Site) -> None:
    store(site, COIN, [FIRST, FIRST + 1])
    page = site.context.new_page()
    attempts: list[str] = []
    is_away = True

    def connect(socket: WebSocketRoute) -> None:
        attempts.append(socket.url)
        if is_away:
            socket.close(code=1012)
        else:
            socket.connect_to_server()

    page.route_web_socket("**/ws/v1/", connect)
    page.goto(site.url)
    page.locator(f"tr[data-symbol='{COIN}']").click()
    shows(page, symbol=COIN, bars=2)
    store(site, COIN, [FIRST + 2, FIRST + 3])
    is_away = False
    shows(page, bars=4)
    assert len(attempts) > 1


class Line:
    """The page's websocket to the real server, on which a test can hold back what the server says, and speak itself."""

    def __init__(self, page: Page) -> None:
        self._socket: WebSocketRoute | None = None
        self._held: list[str] | None = None
        page.route_web_socket("**/ws/v1/", self._connect)

    def _connect(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        socket.connect_to_server().on_message(self._forward)

    def _forward(self, text: str | bytes) -> None:
        if self._held is None:
            self.say_text(str(text))
        else:
            self._held.append(str(text))

    def say_text(self, text: str) -> None:
        assert self._socket
        self._socket.send(text)

    def say(self, type: str, **fields: Any) -> None:
        self.say_text(json.dumps({"type": type, **fields}))

    def hold(self) -> None:
        self._held = []

    def release(self) -> None:
        held, self._held = self._held or [], None
        for text in held:
            self.say_text(text)


MISSED = re.compile(r"/bars\?symbol=BINANCE%3ABTCUSDT&.*start_ms=")


def opened(site: Site) -> tuple[Page, Line]:
    """The page with a granted chart of two bars."""
    store(site, COIN, [FIRST, FIRST + 1])
    page = site.context.new_page()
    line = Line(page)
    with page.expect_response(MISSED, timeout=DEADLINE_S * 1000):
        page.goto(site.url)
        page.locator(f"tr[data-symbol='{COIN}']").click()
    shows(page, symbol=COIN, bars=2)
    return page, line


@pytest.mark.slow
def test_of_two_breaks_shortly_after_one_another_the_second_is_recovered_alone(site: Site) -> None:
    page, line = opened(site)
    store(site, COIN, [FIRST + 2])
    asked: list[Route] = []
    page.route(MISSED, lambda route: asked.append(route))
    for breaks in (1, 2):
        line.say("snapshot", quotes=[], bars=[], recovered=False)
        while len(asked) < breaks:
            page.wait_for_timeout(20)  # lets the browser's events in
    first, second = asked
    first.continue_()
    second.fulfill(status=503, json={"detail": "MongoDB is away."})
    expect(page.locator("#problem")).to_contain_text("could not be loaded, trying again: MongoDB is away.")
    page.unroute(MISSED)
    with page.expect_response(MISSED) as again:
        pass
    assert (again.value.status, again.value.url) == (200, first.request.url)
    shows(page, bars=3)
    expect(page.locator("#problem")).to_be_hidden()


@pytest.mark.parametrize("answered_before", [False, True])
def test_a_chart_left_and_chosen_again_at_once_lacks_no_bar(site: Site, answered_before: bool) -> None:
    """Bars close between the reading of the history and the grant; an older answer that has the chart is none."""
    page, line = opened(site)
    line.hold()
    page.locator(f"tr[data-symbol='{SHARE}']").click()
    shows(page, symbol=SHARE)
    page.locator(f"tr[data-symbol='{COIN}']").click()
    shows(page, symbol=COIN, bars=2)
    store(site, COIN, [FIRST + 2])
    if answered_before:
        line.say("subscribed", id=0, quotes=[COIN], bars=[f"{COIN}@1m"], refused=[])
        shows(page, bars=3)
        store(site, COIN, [FIRST + 3])
    line.release()
    shows(page, bars=4 if answered_before else 3)
