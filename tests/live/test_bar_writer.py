"""Closed bars reach the real BarStore before anybody hears of them."""

import threading
from collections.abc import Iterator

import pytest

from infrastructure.bars import Bar
from infrastructure.errors import Rejected, Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, Series
from infrastructure.tradingview.base import BarUpdate
from marketdata.live.bar_writer import BarWriter
from marketdata.live.series import SeriesOf, bars_per_week
from marketdata.models import Symbol
from tests.live.source import MINUTE_MS, bar_update


class Told:
    """What the writer passed on after storing it."""

    def __init__(self) -> None:
        self.updates: list[BarUpdate] = []
        self.lost = 0
        self._changed = threading.Condition()

    def lose(self) -> None:
        self.lost += 1

    def __call__(self, update: BarUpdate) -> None:
        with self._changed:
            self.updates.append(update)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.updates) >= count, 30)


class Away:
    """Finds series, unless the store is away or refuses."""

    def __init__(self, series_of: SeriesOf) -> None:
        self._series_of = series_of
        self.tried = threading.Event()
        self.back = threading.Event()
        self.refused = ""

    def __call__(self, update: BarUpdate) -> Series | None:
        self.tried.set()
        if not self.back.is_set():
            raise Unavailable("MongoDB does not answer.")
        if update.symbol == self.refused:
            raise Rejected("No.")
        return self._series_of(update)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def store(database: Database) -> BarStore:
    store = BarStore(database)
    store.ensure()
    return store


@pytest.fixture
def writer(store: BarStore, told: Told) -> Iterator[BarWriter]:
    writer = BarWriter(store, SeriesOf(store), told, told.lose)
    writer.start()
    yield writer
    writer.close(10)


def stored(store: BarStore, symbol: str, interval: str = "1m") -> list[Bar]:
    series = store.find(symbol, INTERVALS[interval])
    return list(store.read(series)) if series else []


def test_bars_are_stored_and_then_passed_on_in_order(store: BarStore, told: Told, writer: BarWriter) -> None:
    updates = [bar_update("TEST:TICK", "1m", minute, 2.0, closed=True) for minute in range(10)]
    for update in updates:
        writer.put(update)
    told.wait_for(10)
    assert told.updates == updates
    assert stored(store, "TEST:TICK") == [update.bar for update in updates]
    assert writer.waiting == 0


def test_the_same_bar_twice_is_stored_once_the_newest_value_wins(
    store: BarStore, told: Told, writer: BarWriter
) -> None:
    writer.put(bar_update("TEST:TICK", "1m", 1, 2.0, closed=True))
    writer.put(bar_update("TEST:TICK", "1m", 1, 3.0, closed=True))
    writer.put(bar_update("TEST:TICK", "1m", 2, 4.0, closed=True))
    writer.close(10)
    assert [bar.close for bar in stored(store, "TEST:TICK")] == [3.0, 4.0]


def test_bars_of_a_symbol_the_platform_does_not_have_are_left_out(
    store: BarStore, told: Told, writer: BarWriter
) -> None:
    writer.put(bar_update("NO:ONE", "1m", 1, 2.0, closed=True))
    writer.put(bar_update("TEST:TICK", "1m", 1, 2.0, closed=True))
    told.wait_for(1)
    assert [update.symbol for update in told.updates] == ["TEST:TICK"]
    assert store.find("NO:ONE", INTERVALS["1m"]) is None


def test_while_the_store_is_away_bars_wait_and_none_is_lost(store: BarStore, told: Told) -> None:
    away = Away(SeriesOf(store))
    writer = BarWriter(store, away, told, told.lose)
    writer.start()
    updates = [bar_update("TEST:TICK", "1m", minute, 2.0, closed=True) for minute in range(1200)]
    for update in updates:
        writer.put(update)
    assert away.tried.wait(20)
    assert (writer.waiting, told.updates) == (1200, [])
    away.back.set()
    told.wait_for(1200)
    writer.close(10)
    assert told.updates == updates
    assert stored(store, "TEST:TICK") == [update.bar for update in updates]


def test_one_bar_that_is_refused_does_not_hold_up_the_others(store: BarStore, told: Told) -> None:
    away = Away(SeriesOf(store))
    away.refused = "NASDAQ:AAPL"
    away.back.set()
    writer = BarWriter(store, away, told, told.lose)
    for symbol in ("TEST:TICK", "NASDAQ:AAPL", "BINANCE:BTCUSDT"):
        writer.put(bar_update(symbol, "1m", 1, 2.0, closed=True))
    writer.start()
    told.wait_for(2)
    assert writer.close(10) == 0
    assert [update.symbol for update in told.updates] == ["TEST:TICK", "BINANCE:BTCUSDT"]


def test_closing_while_the_store_is_away_says_how_many_were_left(store: BarStore, told: Told) -> None:
    writer = BarWriter(store, Away(SeriesOf(store)), told, told.lose)
    writer.start()
    writer.put(bar_update("TEST:TICK", "1m", 1, 2.0, closed=True))
    assert writer.close(10) == 1


def test_the_queue_asks_for_fewer_bars_when_it_is_full_and_refuses_beyond(store: BarStore, told: Told) -> None:
    away = Away(SeriesOf(store))
    writer = BarWriter(store, away, told, told.lose, limit=10)
    for minute in range(9):
        writer.put(bar_update("TEST:TICK", "1m", minute, 2.0, closed=True))
    assert not writer.full
    for minute in range(9, 30):
        writer.put(bar_update("TEST:TICK", "1m", minute, 2.0, closed=True))
    assert (writer.full, writer.waiting, told.lost) == (True, 20, 10)
    away.back.set()
    writer.start()
    told.wait_for(20)
    assert writer.close(10) == 0
    assert not writer.full
    assert [bar.time_ms // MINUTE_MS for bar in stored(store, "TEST:TICK")] == list(range(20))


@pytest.mark.parametrize(
    ("session", "timezone", "expected"),
    [("0930-1600", "America/New_York", 1950.0), ("", "", 10080.0), ("rubbish", "UTC", 10080.0)],
)
def test_a_series_is_sized_by_the_trading_hours_of_its_symbol(session: str, timezone: str, expected: float) -> None:
    assert bars_per_week(Symbol(key="A:B", session=session, timezone=timezone), INTERVALS["1m"]) == expected
