"""The whole feed path inside one test: simulator → stream → feed → MongoDB and Redis → hub → browser, all of them real.

The simulated market stands until the test moves its clock, so that everything seen can be compared with the model.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from infrastructure.bars import Bar
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, Database, keys
from infrastructure.persistence.live import LiveCache
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import TradingViewConfig, TradingViewProvider, TradingViewWebSocketProvider
from infrastructure.tradingview.budget import RequestBudget
from marketdata.live.feed import FeedProcess
from marketdata.models import Symbol
from marketdata.services import upstream
from tests.live.browser import Browser

#: A Friday with New York and the coins open: 10:07:31 in New York.
FRIDAY_MS = int(datetime(2026, 11, 20, 15, 7, 31, tzinfo=UTC).timestamp() * 1000)
SYMBOLS = ("NASDAQ:AAPL", "BINANCE:BTCUSDT", "TEST:TICK")
MINUTE, BARS_OF = INTERVALS["1m"], "TEST:TICK"
TOPIC = f"{BARS_OF}@1m"


def prepare(database: Database) -> None:
    BarStore(database).ensure()
    Symbol.objects.filter(pk=BARS_OF).update(stream_intervals=["1m"], session="24x7", timezone="Etc/UTC")


class FeedPath:
    def __init__(self, database: Database, cache: LiveCache, server: SimulatorServer, **config: Any) -> None:
        url = server.http_url
        self.server = server
        self.market = server.market
        self.config = replace(
            TradingViewConfig(server.websocket_url, url, url, "https://www.tradingview.com"),
            **{"pause_s": 0, "timeout_s": 2.0, "page_bars": 20, **config},
        )
        self.budget = RequestBudget(cache._url)
        self._database = database
        self._cache = cache
        self._stop = threading.Event()
        self._process = FeedProcess(database, cache, self._stream, "simulator", True, self.history)
        self._thread = threading.Thread(target=self._process.run, args=(self._stop,), daemon=True)

    def _stream(self) -> TradingViewWebSocketProvider:
        return TradingViewWebSocketProvider(self.config, upstream.check)

    def history(self) -> TradingViewProvider:
        return TradingViewProvider(self.config, upstream.check, pace=self.budget)

    @property
    def clock(self) -> StandingClock:
        assert isinstance(self.server.clock, StandingClock)
        return self.server.clock

    @property
    def newest_ms(self) -> int:
        """Open of the newest closed minute."""
        return self.clock.at_ms - self.clock.at_ms % MINUTE_MS - MINUTE_MS

    def lasts(self) -> dict[str, float | None]:
        """The market's last prices."""
        return {symbol: self.market.quote(symbol, self.clock.at_ms).last for symbol in SYMBOLS}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def bars(self, first_ms: int, last_ms: int) -> list[Bar]:
        """The market's."""
        return list(self.market.bars(BARS_OF, MINUTE, first_ms, last_ms + MINUTE_MS))

    def stored(self) -> list[Bar]:
        store = BarStore(self._database)
        series = store.find(BARS_OF, MINUTE)
        return list(store.read(series)) if series else []

    def logged(self) -> list[Bar]:
        """What was said on the wire, in order."""
        entries = [fields for _, fields in self._cache._client.xrange(keys.LOG)]
        return [as_bar(json.loads(one[b"j"])) for one in entries if one[b"t"] == TOPIC.encode()]


def as_bar(message: dict[str, Any]) -> Bar:
    return Bar(*(message[name] for name in "tohlcv"))


class Viewer(Browser):
    """Watches all symbols, and the bars of one."""

    async def watch(self) -> None:
        await self.say(op="subscribe", quotes=list(SYMBOLS), bars=[TOPIC])

    def states(self) -> list[str]:
        """Of the feed, in the order in which they were told."""
        feeds = [message["feed"]["state"] for message in self.messages if message["type"] in ("hello", "status")]
        return [state for place, state in enumerate(feeds) if place == 0 or state != feeds[place - 1]]

    def closed(self) -> list[Bar]:
        """Closed bars as they came, but for those that a snapshot repeats."""
        updates = [message for message in self.messages if message["type"] == "update"]
        return [as_bar(bar) for update in updates for bar in update["bars"] if bar["closed"]]

    @property
    def newest_ms(self) -> int:
        """Open of the newest closed bar that came."""
        return max((bar.time_ms for bar in self.closed()), default=0)

    def shows(self, path: FeedPath) -> bool:
        """The market of this moment, the newest closed bar, and a live feed."""
        return self.last() == path.lasts() and self.newest_ms == path.newest_ms and self.states()[-1] == "live"

    async def until_seen(self, *states: str) -> None:
        """These, in this order, others between them."""
        await self.until(lambda one: is_within(states, one.states()))  # type: ignore[attr-defined]


def is_within(wanted: tuple[str, ...], seen: list[str]) -> bool:
    left = iter(seen)
    return all(state in left for state in wanted)


def half_minute(ms: int) -> int:
    """The next one."""
    return ms + (MINUTE_MS // 2 - ms) % MINUTE_MS


@asynccontextmanager
async def moving(path: FeedPath) -> AsyncIterator[None]:
    """The market's clock runs, twenty times as fast as ours; then it stands at a half minute: the minute before it has
    closed."""

    async def run() -> None:
        while True:
            path.clock.at_ms += 1000
            await asyncio.sleep(0.05)

    running = asyncio.ensure_future(run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        path.clock.at_ms = half_minute(path.clock.at_ms)


@asynccontextmanager
async def watched(path: FeedPath) -> AsyncIterator[Viewer]:
    """A feed that runs, and a browser that has seen a bar close."""
    path.start()
    try:
        async with Viewer() as viewer:
            await viewer.watch()
            await flows(path, viewer)
            yield viewer
    finally:
        await asyncio.to_thread(path.stop)


async def flows(path: FeedPath, viewer: Viewer) -> None:
    """Until the newest closed bar of now has been seen, or one after it, from a live feed."""
    due_ms = path.newest_ms
    async with moving(path):
        await viewer.until(lambda one: one.newest_ms >= due_ms and one.states()[-1] == "live")  # type: ignore[attr-defined]


async def passes(path: FeedPath, minutes: int) -> None:
    path.clock.at_ms += minutes * MINUTE_MS


async def whole(path: FeedPath, viewer: Viewer) -> None:
    """The browser sees the market; no closed bar is missing, doubled or wrong in the store, on the wire, and there."""
    await viewer.until(lambda one: one.shows(path))  # type: ignore[attr-defined]
    stored = await asyncio.to_thread(path.stored)
    assert stored == path.bars(stored[0].time_ms, path.newest_ms)
    logged = await asyncio.to_thread(path.logged)
    assert logged == path.bars(logged[0].time_ms, path.newest_ms)
    seen = viewer.closed()
    assert seen == path.bars(seen[0].time_ms, path.newest_ms)
