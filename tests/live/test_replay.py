"""Recordings on the whole path with real processes: `runfeed --record`, then `runfeed --replay` into empty stores."""

import json
import resource
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from infrastructure.persistence import BarStore, Database, keys
from infrastructure.persistence.live import LiveCache
from infrastructure.replay import ReplayConfig, ReplayProvider, ReplayStreamProvider
from infrastructure.replay.captures import read
from infrastructure.replay.lines import encode
from infrastructure.simulator import SimulatorServer, StandingClock
from marketdata.live.feed import FeedProcess
from marketdata.models import Symbol
from tests.live.browser import eventually
from tests.live.conftest import empty
from tests.live.platform import Client, ManagePy
from tests.live.test_platform import ONE_MINUTE, START_MS, as_bar, in_thread, seen, stored
from tests.persistence.conftest import RedisServer
from tests.replay.test_playing import AAPL, Tape
from tests.servers import free_port

MINUTE_MS = 60_000
QUOTES = ["NASDAQ:AAPL", "BINANCE:BTCUSDT", "TEST:TICK"]
BARS = ["TEST:TICK@1m"]
SPEED = "50"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture
def stores(database: Database) -> Database:
    BarStore(database).ensure()
    Symbol.objects.filter(pk="TEST:TICK").update(stream_intervals=["1m"])
    return database


def forget(database: Database, redis_server: RedisServer) -> None:
    """As if nothing had ever been streamed."""
    symbols = list(Symbol.objects.all())
    empty(database)
    Symbol.objects.bulk_create(symbols)
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()


async def test_a_session_that_was_recorded_is_played_to_browsers_and_stores(
    folder: Path, stores: Database, redis_server: RedisServer
) -> None:
    capture, port, clock = folder.parent / "capture", free_port(), StandingClock(START_MS)
    minute_ms = START_MS - START_MS % MINUTE_MS
    with SimulatorServer(clock=clock, heartbeat_s=0.2) as simulator:
        feed = ManagePy(folder, "runfeed", "--record", str(capture), TRADINGVIEW_WEBSOCKET_URL=simulator.websocket_url)
        with feed, ManagePy(folder, "serve", PORT=str(port)):
            first = Client(port, QUOTES, BARS)
            await first.until(lambda one: set(QUOTES) <= one.quotes.keys() and BARS[0] in one.bars)
            for seconds in (3, 10, 40):
                clock.at_ms = START_MS + seconds * 1000
                moved = simulator.market.quote("TEST:TICK", clock.at_ms).last
                await first.until(lambda one, moved=moved: one.quotes["TEST:TICK"]["last"] == moved)
            await first.until(lambda one: any(bar["t"] == minute_ms for bar in one.closed))
            clock.at_ms += 1000
            market = {key: simulator.market.quote(key, clock.at_ms).last for key in QUOTES}
            forming = simulator.market.forming("TEST:TICK", ONE_MINUTE, clock.at_ms)
            await first.until(lambda one: {key: quote["last"] for key, quote in one.quotes.items()} == market)
            await first.until(lambda one: as_bar(one.bars[BARS[0]]) == forming)
            assert await in_thread(feed.stop) == 0
            await first.close()
    kept = await in_thread(lambda: stored(stores, "TEST:TICK"))
    assert kept[-1].time_ms == minute_ms
    await in_thread(lambda: forget(stores, redis_server))
    again = await replayed(folder, capture, port, first)
    assert {key: seen(quote) for key, quote in again.quotes.items()} == {
        key: seen(quote) for key, quote in first.quotes.items()
    }
    assert await in_thread(lambda: stored(stores, "TEST:TICK")) == kept
    assert (again.feeds[-1]["source"], again.feeds[-1]["simulated"]) == ("replay", False)


async def replayed(folder: Path, capture: Path, port: int, first: Client) -> Client:
    with (
        ManagePy(folder, "runfeed", "--replay", str(capture), "--speed", SPEED) as feed,
        ManagePy(folder, "serve", PORT=str(port), MARKETDATA_SOURCE="replay", REPLAY_FILE=str(capture)),
    ):
        again = Client(port, QUOTES, BARS)
        await again.until(lambda one: bool(one.feeds) and one.feeds[-1]["reason"] == "The recording capture has ended.")
        await again.until(lambda one: one.quotes.keys() == first.quotes.keys() and BARS[0] in one.bars)
        await again.until(lambda one: as_bar(one.bars[BARS[0]]) == as_bar(first.bars[BARS[0]]))
        assert again.feeds[-1]["state"] == "stopped"
        assert await in_thread(feed.stop) == 0
        await again.close()
    return again


async def test_a_full_disk_ends_the_recording_and_not_the_feed(
    folder: Path, stores: Database, redis_server: RedisServer
) -> None:
    capture, clock, cache = folder.parent / "capture", StandingClock(START_MS), LiveCache(redis_server.url)
    with SimulatorServer(clock=clock) as simulator:
        url = simulator.websocket_url
        with ManagePy(folder, "runfeed", "--record", str(capture), TRADINGVIEW_WEBSOCKET_URL=url) as feed:
            resource.prlimit(feed.process.pid, resource.RLIMIT_FSIZE, (20_000, 20_000))

            def full() -> bool:
                clock.at_ms += 1000
                return "is not written any further" in feed.log.read_text()

            await eventually(full)
            clock.at_ms += 1000
            last = simulator.market.quote("TEST:TICK", clock.at_ms).last
            await eventually(lambda: json.loads(cache.quotes()["TEST:TICK"])["last"] == last)
            assert await in_thread(feed.stop) == 0
    lines = [line for line in feed.log.read_text().splitlines() if "capture" in line]
    assert lines == [f"ERROR infrastructure.replay.recorder: {capture} is not written any further: File too large"]
    assert capture.stat().st_size == 20_000
    assert any(record.kind == "<" for record in read(capture))


@pytest.fixture
def open_then(database: Database) -> Iterator[None]:
    """Symbols whose market was open all day when the recording was made, and is closed for weeks round today."""
    today = datetime.now(UTC).date()
    holidays = ",".join(f"{today + timedelta(days=n):%Y%m%d}" for n in range(-8, 9))
    Symbol.objects.all().delete()
    Symbol.objects.create(key=AAPL, session="24x7", timezone="UTC", holidays=holidays)
    yield


@pytest.mark.usefixtures("open_then")
async def test_markets_are_open_or_closed_by_the_clock_of_the_recording(
    database: Database, redis_server: RedisServer, tmp_path: Path
) -> None:
    tape = Tape().opened(0).asks_quotes(0, "qs_1", AAPL).answers_quote(1, "qs_1", AAPL, lp=1.5)
    tape.add(3600, "<", "~m~4~m~~h~1")
    (tmp_path / "capture").write_text("".join(map(encode, tape.records)))
    cache, stop, config = LiveCache(redis_server.url), threading.Event(), ReplayConfig(tmp_path / "capture")
    process = FeedProcess(
        database, cache, lambda: ReplayStreamProvider(config), "replay", False, lambda: ReplayProvider(config.path)
    )
    thread = threading.Thread(target=process.run, args=(stop,))
    thread.start()
    try:
        await eventually(lambda: b"AAPL" in b"".join(key.encode() for key in cache.quotes()))
        await eventually(lambda: (cache.get_json(keys.FEED) or {}).get("state") not in (None, "connecting"))
        said = cache.get_json(keys.FEED)
        assert (said["state"], said["reason"]) == ("live", "The recording capture is played.")
    finally:
        stop.set()
        await in_thread(thread.join)
