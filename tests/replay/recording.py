"""A recorded conversation with a simulator, made by the real stream provider and the real recorder."""

import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infrastructure.replay import Recorder, ReplayConfig, ReplayStreamProvider
from infrastructure.replay.lines import Kind
from infrastructure.simulator import Market, SimulatorServer, StandingClock
from infrastructure.tradingview import TradingViewWebSocketProvider
from infrastructure.tradingview.base import BarUpdate, Quote, QuoteUpdate, Wanted
from infrastructure.tradingview.stream import Pair
from tests.tradingview.friday import FRIDAY, OPEN_MINUTE
from tests.tradingview.listening import Sink
from tests.tradingview.settings_for import config_for
from tests.tradingview.wishes import MINUTE

SYMBOLS = ("BINANCE:BTCUSDT", "LSE:VOD", "NASDAQ:AAPL", "TEST:TICK", "TVC:RUT")
END_MS = OPEN_MINUTE + 125_000  # the simulator's clock at the end
WANTED = Wanted(frozenset(SYMBOLS), frozenset((symbol, MINUTE) for symbol in SYMBOLS))


class Hearing:
    """Passes on to a recorder; knows when the source has nothing more to say: its heartbeats follow each other."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._news = threading.Condition()
        self._beats: dict[int, int] = {}

    def __call__(self, connection: int, kind: Kind, text: str) -> None:
        self._recorder(connection, kind, text)
        with self._news:
            if kind == "<":
                quiet = re.fullmatch(r"~m~\d+~m~~h~\d+", text)
                self._beats[connection] = self._beats.get(connection, 0) + 1 if quiet else 0
                self._news.notify_all()

    def until_quiet(self) -> None:
        with self._news:
            self._beats = dict.fromkeys(self._beats, 0)
            assert self._news.wait_for(lambda: min(self._beats.values()) >= 3, 20)


def recorded(path: Path, **options: Any) -> Sink:
    """What the stream said while it was recorded: two minutes of the market, with a lost connection between them."""
    clock = StandingClock(FRIDAY)
    with SimulatorServer(clock=clock, heartbeat_s=0.2) as server, Recorder(path) as recorder:
        hearing = Hearing(recorder)
        provider = TradingViewWebSocketProvider(config_for(server, **options), None, hearing)
        sink = Sink()
        provider.want(WANTED)
        provider.start(sink)
        sink.until(lambda _: all(sink.of(QuoteUpdate, s) and sink.of(BarUpdate, s) for s in SYMBOLS))
        for minute in (1, 2):
            clock.at_ms = END_MS - (2 - minute) * 60_000
            closed_ms = clock.at_ms - clock.at_ms % 60_000 - 60_000
            sink.until(lambda _, ms=closed_ms: (ms, True) in bars_said(sink, "TEST:TICK"))
            if minute == 1:
                before = {symbol: len(sink.of(BarUpdate, symbol)) for symbol in SYMBOLS}
                server.faults.set("close")
                sink.until(lambda _: "reconnecting" in sink.states and sink.states[-1] == "live")
                sink.until(lambda _, b=before: all(len(sink.of(BarUpdate, s)) > b[s] for s in SYMBOLS))
        for symbol in SYMBOLS:
            forming, last = server.market.forming(symbol, MINUTE, END_MS), expected_quote(server.market, symbol)
            sink.until(lambda _, s=symbol, bar=forming: str(sink.of(BarUpdate, s)[-1].bar) == str(bar))
            sink.until(lambda _, s=symbol, quote=last: heard_quote(sink, s) == quote)
        hearing.until_quiet()
        provider.close()
    return sink


def played(path: Path, wanted: Wanted = WANTED, speed: float = 50) -> Sink:
    sink = Sink()
    provider = ReplayStreamProvider(ReplayConfig(path, speed))
    provider.want(wanted)
    provider.start(sink)
    sink.until(lambda _: "stopped" in sink.states or "refused" in sink.states)
    provider.close()
    return sink


def heard_quote(sink: Sink, symbol: str) -> Quote:
    quote = Quote(symbol)
    for event in sink.of(QuoteUpdate, symbol):
        quote = quote.merged(event.changes)
    return quote


def expected_quote(market: Market, symbol: str) -> Quote:
    """At the end; the source tells the time of a trade in whole seconds."""
    quote = market.quote(symbol, END_MS)
    return quote.merged({"last_ms": quote.last_ms and quote.last_ms // 1000 * 1000})


def bars_said(sink: Sink, symbol: str) -> set[tuple[int, bool]]:
    return {(event.bar.time_ms, event.closed) for event in sink.of(BarUpdate, symbol)}


@dataclass(frozen=True)
class Said:
    """All that a sink heard: every change of each quote in order; of each series, the closed bars and the last one."""

    quotes: dict[str, list[Any]]
    closed: dict[Pair, dict[int, str]]
    newest: dict[Pair, str]

    @classmethod
    def by(cls, sink: Sink) -> "Said":
        quotes: dict[str, list[Any]] = {}
        closed: dict[Pair, dict[int, str]] = {}
        newest: dict[Pair, str] = {}
        for event in sink.events:
            if isinstance(event, QuoteUpdate):
                quotes.setdefault(event.symbol, []).append(event.changes)
            if isinstance(event, BarUpdate):
                pair = (event.symbol, event.interval)
                newest[pair] = f"{event.bar} {event.close_ms}"  # as text: a volume of NaN is not equal to itself
                if event.closed:
                    closed.setdefault(pair, {})[event.bar.time_ms] = str(event.bar)
        return cls(quotes, closed, newest)
