from dataclasses import replace

import pytest

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, Database, FindingStore, Found, Written
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.base import BarUpdate, History
from marketdata.live.series import SeriesOf
from marketdata.models import BackfillJob, Finding
from marketdata.services import backfill, intake, pulls
from marketdata.services.bar_checks import Fault
from marketdata.services.series import series_of
from tests.history.jobs import start_here
from tests.platform.conftest import NOW_MS, add_symbol

MINUTE = INTERVALS["1m"]
COIN, SHARE = "BINANCE:BTCUSDT", "NASDAQ:AAPL"
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS


def findings() -> list[tuple[str, str, str, str, int, list[float], int]]:
    rows = Finding.objects.all().order_by("pk")
    return [(row.kind, row.symbol, row.interval, row.reason, row.first_ms, row.values, row.seen) for row in rows]


def spoilt(bars: Bars, place: int, **changes: float) -> tuple[Bars, Bar]:
    """The bars with one that cannot be true, and that one."""
    rows = [replace(bar, **changes) if number == place else bar for number, bar in enumerate(bars)]
    columns = [(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in rows]
    return Bars.from_rows(columns), rows[place]


def test_a_bad_bar_of_a_page_is_set_aside_and_the_rest_is_stored(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    info = provider.resolve(COIN)
    given, bad = spoilt(source.market.last(COIN, MINUTE, 50, THIS_MINUTE), 20, high=1.0)
    page = History(info, MINUTE, given, server_ms=NOW_MS)
    series = series_of(bars, COIN, MINUTE, info)
    assert bars.write(series, intake.accept(page, COIN)) == Written(new=49, documents=1)
    kept = [bar for bar in given if bar.time_ms != bad.time_ms]
    assert list(bars.read(series)) == kept
    noted = ("rejected", COIN, "1m", Fault.HIGH.value, bad.time_ms, [bad.open, 1.0, bad.low, bad.close, bad.volume])
    assert findings() == [(*noted, 1)]
    intake.accept(page, COIN)
    assert findings() == [(*noted, 2)]


class Spoiling:
    """A provider that spoils one bar of every page of the real one."""

    def __init__(self, provider: IDataProvider) -> None:
        self._provider = provider
        self.bad: list[Bar] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._provider, name)

    def pages(self, *args: object, **limits: object) -> object:
        for page in self._provider.pages(*args, **limits):  # type: ignore[arg-type]
            spoiled, bad = spoilt(page.bars, len(page.bars) // 2, close=float("inf"))
            self.bad.append(bad)
            yield replace(page, bars=spoiled)


def test_backfills_and_pulls_set_aside_what_cannot_be_true(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    liar = Spoiling(provider)
    job = BackfillJob(symbol=COIN, interval="1m", bars=6000)
    start_here(job)
    backfill.run(job, liar, bars)  # type: ignore[arg-type]
    add_symbol(provider, SHARE, "1m")
    pulls.pull(liar, bars, MINUTE, NOW_MS)  # type: ignore[arg-type]
    assert sorted(row[4] for row in findings()) == sorted(bad.time_ms for bad in liar.bad)
    assert {row[3] for row in findings()} == {Fault.PRICE.value}
    for key, count, bad in ((COIN, 6000, liar.bad[:2]), (SHARE, pulls.FIRST_BARS, liar.bad[2:])):
        series = bars.find(key, MINUTE)
        assert series is not None
        true = source.market.last(key, MINUTE, count, THIS_MINUTE)
        wrong = {one.time_ms for one in bad}
        assert list(bars.read(series)) == [bar for bar in true if bar.time_ms not in wrong]


def test_the_feed_stores_no_streamed_bar_that_cannot_be_true(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN)
    series_of_update = SeriesOf(bars)
    (true,) = source.market.last(COIN, MINUTE, 1, THIS_MINUTE)

    def streamed(bar: Bar) -> BarUpdate:
        return BarUpdate(COIN, MINUTE, bar, True, bar.time_ms + MINUTE_MS, 0, NOW_MS)

    assert series_of_update(streamed(true)) == bars.find(COIN, MINUTE)
    ahead = replace(true, time_ms=THIS_MINUTE + MINUTE_MS)
    assert series_of_update(streamed(ahead)) is None
    assert series_of_update(streamed(replace(true, low=true.high + 1, time_ms=true.time_ms - MINUTE_MS))) is None
    assert [(row[3], row[4]) for row in findings()] == [
        (Fault.HIGH.value, true.time_ms - MINUTE_MS),
        (Fault.FUTURE.value, ahead.time_ms),
    ]


@pytest.mark.parametrize("days", [-400, 0, 400])
def test_closed_and_future_are_decided_by_the_clock_of_the_server(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, days: int
) -> None:
    """Ours is more than a year behind or ahead of it."""
    assert isinstance(source.clock, StandingClock)
    source.clock.at_ms = NOW_MS + days * 86_400_000
    for name in ("1m", "1h", "1d", "1w"):
        interval = INTERVALS[name]
        job = BackfillJob(symbol=COIN, interval=name, bars=20)
        start_here(job)
        backfill.run(job, provider, bars)
        series = bars.find(COIN, interval)
        assert series is not None
        stored = bars.read(series)
        forming = source.market.forming(COIN, interval, source.clock.at_ms)
        assert forming is not None
        assert stored.same_as(source.market.last(COIN, interval, 20, forming.time_ms))
    assert findings() == []


def test_findings_are_bounded_and_the_oldest_go_first(empty: None) -> None:
    store = FindingStore(Database(), most=3)
    for number in range(9):
        store.note([Found("rejected", f"A:{number}", "1m", "why", 1, 1)])
    assert sorted(row[1] for row in findings()) == ["A:4", "A:5", "A:6", "A:7", "A:8"]  # cut to three at the seventh
