"""Parts die while a page is open: it goes on by itself, and its chart lacks no closed bar."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, Page, expect

from infrastructure.intervals import MINUTE_MS
from infrastructure.persistence import BarStore, Database
from infrastructure.simulator import SimulatorServer, StandingClock
from marketdata.models import Symbol
from marketdata.services import api_keys
from tests.browser.market import TICK, Market
from tests.browser.node import running_client
from tests.browser.site import DEADLINE_S, wait_listening
from tests.live.platform import ManagePy
from tests.persistence.conftest import RedisServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

START_MS = 1_767_625_235_000  # Monday 2026-01-05 15:00:35 UTC
LOST = "connection lost, trying again"


@pytest.fixture
def market(tmp_path: Path, redis_server: RedisServer, database: Database) -> Iterator[Market]:
    BarStore(database).ensure()
    Symbol.objects.filter(pk=TICK).update(stream_intervals=["1m"])
    folder = tmp_path / "logs"
    folder.mkdir()
    clock = StandingClock(START_MS)
    with SimulatorServer(clock=clock) as simulator:
        yield Market(folder, simulator, clock)


def opened(context: BrowserContext, market: Market, web: ManagePy) -> Page:
    """The page, with the chart of a symbol that trades in each minute; it is never loaded again."""
    wait_listening(market.port, web)
    page = context.new_page()
    page.goto(market.url)
    page.evaluate("globalThis.sameDocument = true")
    page.locator(f"tr[data-symbol='{TICK}']").click()
    return page


def shows_every_bar(page: Page, market: Market) -> None:
    """Up to the forming one, minute after minute."""
    chart = page.locator("#chart")
    expect(chart).to_have_attribute("data-symbol", TICK, timeout=DEADLINE_S * 1000)
    expect(chart).to_have_attribute("data-last", str(market.minute_ms), timeout=DEADLINE_S * 1000)
    first_ms = int(chart.get_attribute("data-first") or 0)
    assert first_ms > 0
    count = (market.minute_ms - first_ms) // MINUTE_MS + 1
    expect(chart).to_have_attribute("data-bars", str(count), timeout=DEADLINE_S * 1000)
    assert page.evaluate("globalThis.sameDocument") is True


@pytest.mark.parametrize("server", ["uvicorn", pytest.param("daphne", marks=pytest.mark.slow)])
def test_after_a_killed_web_server_the_chart_lacks_no_bar(
    market: Market, database: Database, context: BrowserContext, server: str
) -> None:
    with market.feed(), ExitStack() as stack:
        web = stack.enter_context(market.web(WEB_SERVER=server))
        page = opened(context, market, web)
        shows_every_bar(page, market)
        market.next_minute(database)
        shows_every_bar(page, market)
        web.process.kill()
        expect(page.locator("#connection")).to_contain_text(LOST, timeout=DEADLINE_S * 1000)
        expect(page.locator("#stale")).to_contain_text("Not connected since")
        expect(page.locator("#feed")).to_have_text("feed unknown")
        for _ in range(3):
            market.next_minute(database)
        stack.enter_context(market.web(WEB_SERVER=server))
        expect(page.locator("#connection")).to_have_text("connected", timeout=DEADLINE_S * 1000)
        shows_every_bar(page, market)
        expect(page.locator("#stale")).to_be_hidden()


def redis_dies(redis_server: RedisServer, work: Callable[[], None]) -> None:
    redis_server.kill()
    work()
    redis_server.start()


def test_after_a_killed_redis_the_chart_lacks_no_bar(
    market: Market, redis_server: RedisServer, database: Database, context: BrowserContext
) -> None:
    with market.feed(), market.web() as web:
        page = opened(context, market, web)
        shows_every_bar(page, market)
        market.next_minute(database)
        shows_every_bar(page, market)
        redis_dies(redis_server, lambda: market.next_minute(database))
        market.next_minute(database)
        shows_every_bar(page, market)
        expect(page.locator("#feed")).to_have_text("feed live", timeout=DEADLINE_S * 1000)
        expect(page.locator("#stale")).to_be_hidden()


def test_a_page_that_lost_the_network_goes_on_when_it_is_back(
    market: Market, database: Database, context: BrowserContext
) -> None:
    with market.feed(), market.web() as web:
        page = opened(context, market, web)
        shows_every_bar(page, market)
        context.set_offline(True)
        page.evaluate("dispatchEvent(new Event('offline'))")
        market.next_minute(database)
        context.set_offline(False)
        market.next_minute(database)
        shows_every_bar(page, market)


def test_a_program_with_an_api_key_gets_the_bars_it_missed(market: Market, database: Database) -> None:
    key = api_keys.create(User.objects.create_user("ann"), "a test")[1]
    ticket_url = f"{market.url}/api/v1/tickets"
    url = market.url.replace("http", "ws") + "/ws/v1/"
    with market.feed(), ExitStack() as stack:
        web = stack.enter_context(market.web(ANONYMOUS_VIEWING="off"))
        wait_listening(market.port, web)
        with running_client(url, key=key, ticketUrl=ticket_url) as client:
            client.call("subscribe", {"quotes": [TICK], "bars": [f"{TICK}@1m"]})
            client.call("connect")
            client.next("bar", t=market.minute_ms, closed=False)
            first_ms = market.minute_ms
            market.next_minute(database)
            client.next("bar", t=first_ms, closed=True)
            web.process.kill()
            client.next("connection", state="waiting")
            for _ in range(3):
                market.next_minute(database)
            stack.enter_context(market.web(ANONYMOUS_VIEWING="off"))
            assert client.next("recovery") == {"recovered": True}
            missed = [first_ms + n * MINUTE_MS for n in (1, 2, 3)]
            seen = [client.next("bar", closed=True) for _ in missed]
            assert [(bar["t"], bar["snapshot"]) for bar in seen] == [(t, True) for t in missed]
            client.next("bar", t=market.minute_ms, closed=False)
