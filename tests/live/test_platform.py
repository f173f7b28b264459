"""The whole path with real processes: simulator → runfeed → MongoDB and Redis → serve → a client on a socket."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infrastructure.bars import Bar
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, keys
from infrastructure.persistence.live import LiveCache
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview.base import Quote
from marketdata.live.errors import Code
from marketdata.live.feed import LEASE_S
from marketdata.live.protocol import encode_quote
from marketdata.models import Symbol
from tests.live.browser import eventually
from tests.live.platform import Client, ManagePy
from tests.persistence.conftest import RedisServer
from tests.servers import free_port

START_MS = 1_767_625_235_000  # Monday 2026-01-05 15:00:35 UTC: New York trades
MINUTE_MS = 60_000
ONE_MINUTE = INTERVALS["1m"]
QUOTES = ["NASDAQ:AAPL", "BINANCE:BTCUSDT", "TEST:TICK"]
BARS = ["TEST:TICK@1m", "BINANCE:BTCUSDT@5m"]


class Platform:
    def __init__(self, folder: Path, simulator: SimulatorServer, clock: StandingClock) -> None:
        self.simulator, self.clock, self.port = simulator, clock, free_port()
        self._folder = folder

    def feed(self) -> ManagePy:
        url = self.simulator.websocket_url
        return ManagePy(self._folder, "runfeed", TRADINGVIEW_WEBSOCKET_URL=url)

    def web(self, **environment: str) -> ManagePy:
        return ManagePy(self._folder, "serve", PORT=str(self.port), **environment)

    def shows_the_market(self, client: Client) -> bool:
        """Whether the client sees exactly what the model says of this moment."""
        return {key: seen(quote) for key, quote in client.quotes.items()} == {
            key: expected(self.simulator.market.quote(key, self.clock.at_ms)) for key in QUOTES
        }


def seen(quote: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in quote.items() if name not in ("seq", "ms")}


def expected(quote: Quote) -> dict[str, Any]:
    """Q of the model's quote; the source tells the time of a trade in whole seconds."""
    assert quote.last_ms is not None
    return seen(json.loads(encode_quote(replace(quote, last_ms=quote.last_ms // 1000 * 1000), 0, 0)))


def as_bar(message: dict[str, Any]) -> Bar:
    return Bar(*(message[name] for name in "tohlcv"))


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock(START_MS)


@pytest.fixture
def platform(tmp_path: Path, clock: StandingClock, redis_server: RedisServer, database: Database) -> Iterator[Platform]:
    BarStore(database).ensure()
    Symbol.objects.filter(pk="TEST:TICK").update(stream_intervals=["1m"])
    folder = tmp_path / "logs"
    folder.mkdir()
    with SimulatorServer(clock=clock) as simulator:
        yield Platform(folder, simulator, clock)


@asynccontextmanager
async def watching(platform: Platform) -> AsyncIterator[Client]:
    client = Client(platform.port, QUOTES, BARS)
    try:
        yield client
    finally:
        await client.close()


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


def stored(database: Database, symbol: str) -> list[Bar]:
    store = BarStore(database)
    series = store.find(symbol, ONE_MINUTE)
    return list(store.read(series)) if series else []


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
async def test_a_browser_sees_exactly_the_market(platform: Platform, database: Database, server: str) -> None:
    market, clock = platform.simulator.market, platform.clock
    with platform.feed() as feed, platform.web(WEB_SERVER=server):
        async with watching(platform) as client:
            await client.until(platform.shows_the_market)
            assert [type for type in client.types if type != "status"][:3] == ["hello", "subscribed", "snapshot"]
            for _ in range(5):
                clock.at_ms += 1000
                await client.until(platform.shows_the_market)
            forming = market.forming("TEST:TICK", ONE_MINUTE, clock.at_ms)
            await client.until(lambda one: "TEST:TICK@1m" in one.bars and as_bar(one.bars["TEST:TICK@1m"]) == forming)
            minute_ms = clock.at_ms - clock.at_ms % MINUTE_MS
            clock.at_ms = minute_ms + MINUTE_MS + 20_000
            await client.until(lambda one: any(bar["t"] == minute_ms for bar in one.closed))
            closed = [as_bar(bar) for bar in client.closed if bar["t"] == minute_ms]
            assert set(closed) == set(market.bars("TEST:TICK", ONE_MINUTE, minute_ms, minute_ms + MINUTE_MS))
            await client.until(platform.shows_the_market)
        assert await in_thread(feed.stop) == 0
    kept = await in_thread(lambda: stored(database, "TEST:TICK"))
    assert kept == list(market.bars("TEST:TICK", ONE_MINUTE, kept[0].time_ms, minute_ms + MINUTE_MS))
    assert kept[-1].time_ms == minute_ms


async def test_a_logged_out_visitor_is_refused_over_the_socket_too(platform: Platform) -> None:
    with platform.web(ANONYMOUS_VIEWING="off"):
        async with watching(platform) as client:
            await client.until(lambda one: bool(one.codes))
            assert (client.types[:2], client.codes[0]) == (["error", "bye"], Code.NOT_ALLOWED)


@pytest.mark.parametrize(("server", "status"), [("uvicorn", -signal.SIGTERM), ("daphne", 0)])
async def test_a_server_that_is_stopped_says_goodbye_first(platform: Platform, server: str, status: int) -> None:
    with platform.web(WEB_SERVER=server) as web:
        async with watching(platform) as client:
            await client.until(lambda one: "snapshot" in one.types)
            assert await in_thread(web.stop) == status  # uvicorn passes the signal on when it is done
            await client.until(lambda one: bool(one.codes))
            assert (client.types[-2:], client.codes) == (["error", "bye"], [Code.RESTARTING])


@pytest.mark.slow
async def test_the_page_lives_through_the_death_of_each_part(
    platform: Platform, redis_server: RedisServer, database: Database
) -> None:
    clock = platform.clock

    async def moves(client: Client) -> None:
        for _ in range(2):
            clock.at_ms += 1000
            await client.until(platform.shows_the_market)

    with ExitStack() as stack:
        feed, web = stack.enter_context(platform.feed()), stack.enter_context(platform.web())
        async with watching(platform) as client:
            await client.until(platform.shows_the_market)
            await in_thread(lambda: feed.stop(signal.SIGKILL))
            clock.at_ms += 1000
            stack.enter_context(platform.feed())
            await moves(client)
            await in_thread(redis_server.kill)
            clock.at_ms += 1000
            await in_thread(redis_server.start)
            await moves(client)
            await in_thread(lambda: redis_server_flush(redis_server))
            await moves(client)
            before = client.connections
            await in_thread(lambda: web.stop(signal.SIGKILL))
            stack.enter_context(platform.web())
            await client.until(lambda one: one.connections > before)
            await moves(client)


def redis_server_flush(server: RedisServer) -> None:
    import redis

    with redis.Redis.from_url(server.url) as client:
        client.flushall()


@pytest.mark.slow
async def test_kill_of_the_leader_and_another_streams_without_a_missing_bar(
    platform: Platform, database: Database
) -> None:
    clock, market = platform.clock, platform.simulator.market
    with platform.feed() as first, platform.web():
        async with watching(platform) as client:
            await client.until(platform.shows_the_market)
            with platform.feed() as second:
                await in_thread(lambda: first.stop(signal.SIGKILL))
                for _ in range(3):
                    clock.at_ms += MINUTE_MS
                    await client.until(platform.shows_the_market)
                last_ms = clock.at_ms - clock.at_ms % MINUTE_MS - MINUTE_MS
                await client.until(lambda one: any(bar["t"] == last_ms for bar in one.closed))
                assert await in_thread(second.stop) == 0
    kept = await in_thread(lambda: stored(database, "TEST:TICK"))
    assert kept == list(market.bars("TEST:TICK", ONE_MINUTE, kept[0].time_ms, last_ms + MINUTE_MS))


@pytest.mark.slow
async def test_while_mongodb_hangs_quotes_go_on_and_closed_bars_wait(
    platform: Platform, database: Database, redis_server: RedisServer
) -> None:
    clock, cache = platform.clock, LiveCache(redis_server.url)
    mongod: int = (await in_thread(lambda: database.collection("symbol").database.command("serverStatus")))["pid"]
    with platform.feed() as feed, platform.web():
        async with watching(platform) as client:
            await client.until(platform.shows_the_market)
            minute_ms = clock.at_ms - clock.at_ms % MINUTE_MS
            os.kill(mongod, signal.SIGSTOP)
            try:
                clock.at_ms = minute_ms + MINUTE_MS + 20_000
                await eventually(lambda: bool((cache.get_json(keys.FEED) or {}).get("waiting_bars")))
                hanging_until = time.monotonic() + 2 * LEASE_S
                while time.monotonic() < hanging_until:
                    clock.at_ms += 1000
                    await client.until(platform.shows_the_market)
                assert all(bar["t"] != minute_ms for bar in client.closed)
            finally:
                os.kill(mongod, signal.SIGCONT)
            await client.until(lambda one: any(bar["t"] == minute_ms for bar in one.closed))
            assert await in_thread(feed.stop) == 0
    assert "stepping down" not in feed.log.read_text()
    assert minute_ms in [bar.time_ms for bar in await in_thread(lambda: stored(database, "TEST:TICK"))]


@pytest.mark.slow
async def test_a_paused_leader_that_wakes_up_changes_nothing(platform: Platform) -> None:
    with platform.feed() as first, platform.web():
        async with watching(platform) as client:
            await client.until(platform.shows_the_market)
            epoch = client.feeds[-1]["fence"]
            first.process.send_signal(signal.SIGSTOP)
            with platform.feed():
                await client.until(lambda one: one.feeds[-1]["fence"] == epoch + 1)
                await client.until(platform.shows_the_market)
                first.process.send_signal(signal.SIGCONT)
                for _ in range(5):
                    platform.clock.at_ms += 1000
                    await client.until(platform.shows_the_market)
                assert await in_thread(first.stop) == 0
            told = [feed["fence"] for feed in client.feeds]
            assert set(told[told.index(epoch + 1) :]) == {epoch + 1}


@pytest.mark.slow
async def test_the_operators_switch_stops_the_feed_and_starts_it_again(platform: Platform) -> None:
    from marketdata.services import upstream

    with platform.feed(), platform.web():
        async with watching(platform) as client:
            await client.until(platform.shows_the_market)
            await in_thread(lambda: upstream.turn(False, "alice", "too expensive"))
            await client.until(lambda one: one.feeds[-1]["state"] == "stopped")
            assert client.feeds[-1]["reason"] == "Upstream traffic is off: alice switched it off (too expensive)."
            await client.until(lambda one: platform.simulator.connections == 0)
            await in_thread(lambda: upstream.turn(True, "alice"))
            await client.until(lambda one: one.feeds[-1]["state"] == "live")
            platform.clock.at_ms += 1000
            await client.until(platform.shows_the_market)
