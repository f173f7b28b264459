"""From the stream to what is said, with a source whose history may fail; stores and simulator are real."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import IDataProvider, TradingViewConfig, TradingViewProvider
from infrastructure.tradingview.base import BarUpdate, SeriesBegun
from marketdata.live.bar_writer import BarWriter
from marketdata.live.holes import Holes
from marketdata.live.in_order import InOrder
from marketdata.live.series import SeriesOf

MINUTE, MINUTE_MS = INTERVALS["1m"], 60_000
#: A Friday, 10:07:31 in New York.
NOW_MS = int(datetime(2026, 11, 20, 15, 7, 31, tzinfo=UTC).timestamp() * 1000)
NEWEST_MS = NOW_MS - NOW_MS % MINUTE_MS - MINUTE_MS  # open of the newest closed minute
TICK, RARE, AAPL, COIN = "TEST:TICK", "TEST:RARE", "NASDAQ:AAPL", "BINANCE:BTCUSDT"
ALL = {(symbol, MINUTE) for symbol in (TICK, RARE, AAPL, COIN)}
DEADLINE_S = 30  # against a hang


class Path:
    """From the stream to what is said, with the writer between; `said` holds bars by symbol."""

    def __init__(self, store: BarStore, history: Callable[[], IDataProvider] | None) -> None:
        self.store = store
        self.said: dict[str, list[Bar]] = {}
        self._news = threading.Condition()
        self.in_order = InOrder(self._hear, {})
        self.lost = threading.Event()
        self.writer = BarWriter(store, SeriesOf(store), self.in_order, self.lost.set)
        self.now_s = 0.0
        self.holes = Holes(store, history, self.writer.put, self.in_order, self.lost.set, lambda: self.now_s)
        self.holes.keep(ALL)
        self.holes.start()

    def _hear(self, update: BarUpdate) -> None:
        with self._news:
            self.said.setdefault(update.symbol, []).append(update.bar)
            self._news.notify_all()

    def close(self) -> None:
        self.holes.close(DEADLINE_S)
        self.writer.close(DEADLINE_S)

    def until_said(self, symbol: str, time_ms: int) -> list[Bar]:
        with self._news:
            said = self.said.setdefault(symbol, [])
            assert self._news.wait_for(lambda: any(bar.time_ms == time_ms for bar in said), DEADLINE_S)
            return list(said)

    def streams(self, symbol: str, bars: Bars) -> None:
        """As after a (re)connect."""
        self.holes.begun(SeriesBegun(symbol, MINUTE, int(bars.time_ms[0])))
        self.goes_on(symbol, bars)

    def says(self, symbol: str, bars: Bars) -> list[Bar]:
        """Streams these, and waits until the last of them is said."""
        self.streams(symbol, bars)
        return self.until_said(symbol, int(bars.time_ms[-1]))

    def goes_on(self, symbol: str, bars: Bars) -> None:
        for bar in bars:
            self.holes.put(BarUpdate(symbol, MINUTE, bar, True, bar.time_ms + MINUTE_MS, NOW_MS))

    def stored(self, symbol: str) -> list[Bar]:
        series = self.store.find(symbol, MINUTE)
        return list(self.store.read(series)) if series else []


class Source:
    """Opens the server's history, or fails as it is told."""

    def __init__(self, server: SimulatorServer) -> None:
        url = server.http_url
        self.config = TradingViewConfig(server.websocket_url, url, url, "https://www.tradingview.com", pause_s=0)
        self.failures: list[Exception] = []
        self.opened = 0

    def __call__(self) -> IDataProvider:
        self.opened += 1
        if self.failures:
            raise self.failures.pop()
        return TradingViewProvider(self.config)


def minutes(server: SimulatorServer, symbol: str, back: int, count: int) -> Bars:
    """The market's, of `count` minutes from so many before the newest."""
    start_ms = NEWEST_MS - back * MINUTE_MS
    return server.market.bars(symbol, MINUTE, start_ms, start_ms + count * MINUTE_MS)
