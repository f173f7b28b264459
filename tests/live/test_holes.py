"""What was missed is fetched from the real simulator's history into the real store, before the bars that wait."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Malformed, Rejected, Throttled, Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, CoverageStore, Database
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import IDataProvider, TradingViewConfig, TradingViewProvider
from infrastructure.tradingview.base import BarUpdate, SeriesBegun
from marketdata.live import holes
from marketdata.live.bar_writer import BarWriter
from marketdata.live.holes import LONGEST, TRIES, Holes
from marketdata.live.in_order import InOrder
from marketdata.live.series import SeriesOf
from marketdata.models import Symbol

MINUTE, MINUTE_MS = INTERVALS["1m"], 60_000
#: A Friday, 10:07:31 in New York.
NOW_MS = int(datetime(2026, 11, 20, 15, 7, 31, tzinfo=UTC).timestamp() * 1000)
NEWEST_MS = NOW_MS - NOW_MS % MINUTE_MS - MINUTE_MS  # open of the newest closed minute
TICK, RARE, AAPL, COIN = "TEST:TICK", "TEST:RARE", "NASDAQ:AAPL", "BINANCE:BTCUSDT"
DEADLINE_S = 30  # against a hang


class Path:
    """From the stream to what is said, with the writer between; `said` holds opens by symbol."""

    def __init__(self, store: BarStore, history: Callable[[], IDataProvider] | None) -> None:
        self.store = store
        self.said: dict[str, list[Bar]] = {}
        self._news = threading.Condition()
        self.in_order = InOrder(self._hear, {})
        self.lost = threading.Event()
        self.writer = BarWriter(store, SeriesOf(store), self.in_order, self.lost.set)
        self.holes = Holes(store, history, self.writer.put, self.in_order, self.lost.set)
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

    def goes_on(self, symbol: str, bars: Bars) -> None:
        for bar in bars:
            self.holes.put(BarUpdate(symbol, MINUTE, bar, True, bar.time_ms + MINUTE_MS, NOW_MS))

    def stored(self, symbol: str) -> list[Bar]:
        series = self.store.find(symbol, MINUTE)
        return list(self.store.read(series)) if series else []


@pytest.fixture
def store(database: Database) -> BarStore:
    store = BarStore(database)
    store.ensure()
    Symbol.objects.create(key=RARE)
    Symbol.objects.filter(pk=AAPL).update(session="0930-1600", timezone="America/New_York")
    return store


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(clock=StandingClock(NOW_MS)) as running:
        yield running


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


@pytest.fixture
def source(server: SimulatorServer) -> Source:
    return Source(server)


@pytest.fixture
def path(store: BarStore, source: Source) -> Iterator[Path]:
    path = Path(store, source)
    path.writer.start()
    yield path
    path.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "RETRY", holes.Backoff(0.01, 1, 0.01, 0))


def minutes(server: SimulatorServer, symbol: str, back: int, count: int) -> Bars:
    """The market's, of `count` minutes from so many before the newest."""
    start_ms = NEWEST_MS - back * MINUTE_MS
    return server.market.bars(symbol, MINUTE, start_ms, start_ms + count * MINUTE_MS)


def test_a_hole_is_stored_and_said_before_what_came_after_it(path: Path, server: SimulatorServer) -> None:
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.until_said(TICK, NEWEST_MS - 66 * MINUTE_MS)
    path.streams(TICK, minutes(server, TICK, 9, 8))
    path.goes_on(TICK, minutes(server, TICK, 1, 2))
    expected = list(minutes(server, TICK, 70, 71))
    assert path.until_said(TICK, NEWEST_MS) == expected
    assert path.stored(TICK) == expected
    assert not path.lost.is_set()


def test_what_the_answer_overlaps_is_no_hole(path: Path, server: SimulatorServer, source: Source) -> None:
    path.streams(TICK, minutes(server, TICK, 20, 10))
    path.until_said(TICK, NEWEST_MS - 11 * MINUTE_MS)
    path.streams(TICK, minutes(server, TICK, 10, 11))
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 20, 21))
    assert source.opened == 0


def test_a_closed_market_is_no_hole(path: Path, server: SimulatorServer, source: Source) -> None:
    close_ms = NEWEST_MS - NEWEST_MS % 86_400_000 - 3 * 3_600_000  # yesterday, 16:00 in New York
    path.streams(AAPL, server.market.bars(AAPL, MINUTE, close_ms - 3 * MINUTE_MS, close_ms))
    path.until_said(AAPL, close_ms - MINUTE_MS)
    path.streams(AAPL, minutes(server, AAPL, 36, 37))
    path.until_said(AAPL, NEWEST_MS)
    assert source.opened == 0


def test_minutes_without_a_trade_are_asked_for_once(path: Path, server: SimulatorServer, source: Source) -> None:
    earlier = minutes(server, RARE, 120, 30)
    path.streams(RARE, earlier)
    path.until_said(RARE, int(earlier.time_ms[-1]))
    later = minutes(server, RARE, 30, 31)
    path.streams(RARE, later)
    assert path.until_said(RARE, int(later.time_ms[-1])) == list(minutes(server, RARE, 120, 121))
    assert source.opened == 1


def test_the_hole_counts_as_received(path: Path, server: SimulatorServer, database: Database) -> None:
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.until_said(TICK, NEWEST_MS - 66 * MINUTE_MS)
    path.streams(TICK, minutes(server, TICK, 9, 10))
    path.until_said(TICK, NEWEST_MS)
    series = path.store.find(TICK, MINUTE)
    assert series is not None
    hole = (NEWEST_MS - 66 * MINUTE_MS + 1, NEWEST_MS - 9 * MINUTE_MS)
    assert CoverageStore(database).of(series).ranges == (hole,)


def test_what_a_pull_stored_meanwhile_is_said_too(path: Path, server: SimulatorServer, source: Source) -> None:
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.until_said(TICK, NEWEST_MS - 66 * MINUTE_MS)
    series = path.store.find(TICK, MINUTE)
    assert series is not None
    path.store.write(series, minutes(server, TICK, 65, 60))
    path.streams(TICK, minutes(server, TICK, 9, 10))
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 70, 71))
    assert source.opened == 0


def test_a_hole_that_is_too_long_is_left_to_others(path: Path, server: SimulatorServer, source: Source) -> None:
    back = LONGEST + 15
    path.streams(TICK, minutes(server, TICK, back, 5))
    path.until_said(TICK, NEWEST_MS - (back - 4) * MINUTE_MS)
    path.streams(TICK, minutes(server, TICK, 9, 10))
    expected = [*minutes(server, TICK, back, 5), *minutes(server, TICK, 9, 10)]
    assert path.until_said(TICK, NEWEST_MS) == expected
    assert path.stored(TICK) == expected
    assert source.opened == 0
    assert path.lost.is_set()


def test_a_second_break_while_a_hole_waits_is_filled_too(
    path: Path, server: SimulatorServer, source: Source, impatient: None
) -> None:
    path.streams(TICK, minutes(server, TICK, 90, 5))
    path.until_said(TICK, NEWEST_MS - 86 * MINUTE_MS)
    source.failures = [Unavailable("The source is away.")] * (TRIES - 1)
    path.streams(TICK, minutes(server, TICK, 50, 5))
    path.streams(TICK, minutes(server, TICK, 9, 10))
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 90, 91))


def test_the_very_first_bars_are_stored_before_a_hole_behind_them_is_looked_for(
    store: BarStore, server: SimulatorServer, source: Source
) -> None:
    path = Path(store, source)
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.streams(TICK, minutes(server, TICK, 9, 10))
    path.writer.start()
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 70, 71))
    path.close()


@pytest.mark.parametrize(
    "failures", [[Unavailable("The source is away.")] * TRIES, [Rejected("No such symbol.")]], ids=["away", "refused"]
)
def test_a_source_without_an_answer_holds_back_nothing_for_ever(
    path: Path, server: SimulatorServer, source: Source, impatient: None, failures: list[Exception]
) -> None:
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.until_said(TICK, NEWEST_MS - 66 * MINUTE_MS)
    source.failures = list(failures)
    path.streams(TICK, minutes(server, TICK, 9, 10))
    expected = [*minutes(server, TICK, 70, 5), *minutes(server, TICK, 9, 10)]
    assert path.until_said(TICK, NEWEST_MS) == expected
    assert path.lost.is_set()


def test_a_series_without_an_answer_does_not_hold_up_the_others(
    path: Path, server: SimulatorServer, source: Source, impatient: None
) -> None:
    for symbol in (TICK, COIN):
        path.streams(symbol, minutes(server, symbol, 70, 5))
        path.until_said(symbol, NEWEST_MS - 66 * MINUTE_MS)
    server.faults.set("heartbeats_only", symbol=TICK)
    source.config = replace(source.config, timeout_s=0.3)
    path.streams(TICK, minutes(server, TICK, 9, 10))
    path.streams(COIN, minutes(server, COIN, 9, 10))
    assert path.until_said(COIN, NEWEST_MS) == list(minutes(server, COIN, 70, 71))
    assert path.holes.waiting == 10
    server.faults.clear()
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 70, 71))


def test_what_is_on_its_way_when_a_series_is_let_go_does_not_pass_its_hole(
    path: Path, server: SimulatorServer, source: Source, impatient: None
) -> None:
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.until_said(TICK, NEWEST_MS - 66 * MINUTE_MS)
    source.failures = [Unavailable("The source is away.")] * (TRIES - 1)
    path.streams(TICK, minutes(server, TICK, 9, 8))
    path.holes.keep(())
    path.goes_on(TICK, minutes(server, TICK, 1, 2))
    source.failures = []
    path.holes.keep({(TICK, MINUTE)})
    path.streams(TICK, minutes(server, TICK, 9, 10))
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 70, 71))


def test_of_more_than_the_longest_stored_by_others_the_newest_are_said_and_that_bars_were_lost(
    path: Path, server: SimulatorServer, source: Source
) -> None:
    back = LONGEST + 30
    path.streams(TICK, minutes(server, TICK, back, 5))
    path.until_said(TICK, NEWEST_MS - (back - 4) * MINUTE_MS)
    series = path.store.find(TICK, MINUTE)
    assert series is not None
    path.store.write(series, minutes(server, TICK, back - 5, back - 14))
    path.streams(TICK, minutes(server, TICK, 9, 10))
    path.until_said(TICK, NEWEST_MS)
    assert path.lost.is_set()
    assert source.opened == 0


def test_an_answer_that_nobody_can_use_is_told_as_a_loss(
    path: Path, server: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.until_said(TICK, NEWEST_MS - 66 * MINUTE_MS)

    def unusable(*_: object) -> int:
        raise Malformed("'x' is no span of time.")

    monkeypatch.setattr(holes.catching_up, "store", unusable)
    path.streams(TICK, minutes(server, TICK, 9, 10))
    path.until_said(TICK, NEWEST_MS)
    assert path.lost.is_set()


def test_a_source_that_wants_fewer_requests_is_waited_for(
    path: Path, server: SimulatorServer, source: Source, impatient: None
) -> None:
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.until_said(TICK, NEWEST_MS - 66 * MINUTE_MS)
    source.failures = [Throttled("Fewer requests, please.")] * (3 * TRIES)
    path.streams(TICK, minutes(server, TICK, 9, 10))
    assert path.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 70, 71))
    assert not path.lost.is_set()


def test_a_source_that_answers_nobody_for_long_is_asked_for_no_other_series(
    path: Path, server: SimulatorServer, source: Source, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for symbol in (TICK, COIN):
        path.streams(symbol, minutes(server, symbol, 70, 5))
        path.until_said(symbol, NEWEST_MS - 66 * MINUTE_MS)
    source.failures = [Unavailable("The source is away.")] * 100
    monkeypatch.setattr(holes, "PATIENCE_S", 0.0)
    for symbol in (TICK, COIN):
        path.streams(symbol, minutes(server, symbol, 9, 10))
        path.until_said(symbol, NEWEST_MS)
    assert (source.opened, path.lost.is_set()) == (1, True)


def test_without_a_history_bars_flow_all_the_same(store: BarStore, server: SimulatorServer) -> None:
    path = Path(store, None)
    path.writer.start()
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.until_said(TICK, NEWEST_MS - 66 * MINUTE_MS)
    path.streams(TICK, minutes(server, TICK, 9, 10))
    path.until_said(TICK, NEWEST_MS)
    path.close()


def test_what_waits_at_the_end_is_left_to_the_next_leader(
    path: Path, store: BarStore, server: SimulatorServer, source: Source
) -> None:
    path.streams(TICK, minutes(server, TICK, 70, 5))
    path.until_said(TICK, NEWEST_MS - 66 * MINUTE_MS)
    server.faults.set("heartbeats_only")
    path.streams(TICK, minutes(server, TICK, 9, 10))
    assert path.holes.waiting == 10
    server.faults.clear()
    path.holes.keep(())
    path.close()
    following = Path(store, source)
    following.writer.start()
    following.streams(TICK, minutes(server, TICK, 9, 10))
    assert following.until_said(TICK, NEWEST_MS) == list(minutes(server, TICK, 65, 66))
    assert following.stored(TICK) == list(minutes(server, TICK, 70, 71))
    following.close()
