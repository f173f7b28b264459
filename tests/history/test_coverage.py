import itertools
import threading
from dataclasses import replace

import pytest

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, Coverage, CoverageStore, Database, Series
from infrastructure.simulator import SimulatorServer
from infrastructure.simulator.market import Market
from infrastructure.times import from_ms
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.base import History
from marketdata.models import BackfillJob
from marketdata.services import backfill, pulls
from marketdata.services.coverage import SETTLE_MS, Asked
from tests.history.dying import killed_after
from tests.history.jobs import start_here
from tests.platform.conftest import NOW_MS, add_symbol

MINUTE, HOUR = INTERVALS["1m"], INTERVALS["1h"]
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS
COIN, KOREAN, LONDON = "BINANCE:BTCUSDT", "KRX:005930", "LSE:VOD"
INFO = Market(seed=1).info(COIN)


@pytest.fixture
def series(bars: BarStore) -> Series:
    return bars.series(COIN, MINUTE, bars_per_week=10_080)


def minutes(*steps: int) -> Bars:
    return Bars.from_rows([(THIS_MINUTE + step * MINUTE_MS, 1, 1, 1, 1, 1) for step in steps])


def page(bars: Bars, forming: bool = False, ended: str = "", info: object = INFO) -> History:
    bar = Bar(THIS_MINUTE, 1, 1, 1, 1, 1) if forming else None
    return History(info, MINUTE, bars, bar, ended, NOW_MS)  # type: ignore[arg-type]


# --- What pages cover ---


def test_the_first_page_covers_up_to_the_forming_bar_and_the_next_up_to_the_first() -> None:
    asked = Asked(MINUTE, None, None)
    assert asked.received(page(minutes(-3, -1), forming=True)) == [(THIS_MINUTE - 3 * MINUTE_MS, THIS_MINUTE)]
    assert asked.received(page(minutes(-9, -6))) == [(THIS_MINUTE - 9 * MINUTE_MS, THIS_MINUTE - 3 * MINUTE_MS)]
    assert (asked.exhausted(), asked.ended_ms) == ([], None)


def test_without_a_forming_bar_silence_counts_once_it_has_settled() -> None:
    settled = NOW_MS - SETTLE_MS
    asked = Asked(MINUTE, None, None)
    assert asked.received(page(minutes(-60))) == [(THIS_MINUTE - 60 * MINUTE_MS, settled - settled % MINUTE_MS)]
    young = Asked(MINUTE, None, None)
    assert young.received(page(minutes(-60, -2))) == [(THIS_MINUTE - 60 * MINUTE_MS, THIS_MINUTE - MINUTE_MS)]


def test_a_delayed_source_settles_later() -> None:
    late = replace(INFO, update_mode="delayed_streaming_900")
    settled = NOW_MS - SETTLE_MS - 900_000
    covered = Asked(MINUTE, None, None).received(page(minutes(-60), info=late))
    assert covered == [(THIS_MINUTE - 60 * MINUTE_MS, settled - settled % MINUTE_MS)]


def test_a_bar_that_is_being_made_is_not_covered_although_nothing_was_traded_in_it() -> None:
    """Of the hour that began at 17:00 nothing is known yet at 17:55, which may change in its last minutes."""
    hour = THIS_MINUTE - THIS_MINUTE % HOUR.length_ms  # 18:00
    bars = Bars.from_rows([(hour - 3 * HOUR.length_ms, 1, 1, 1, 1, 1)])
    answer = History(INFO, HOUR, bars, None, "", hour + SETTLE_MS - 60_000)
    assert Asked(HOUR, None, None).received(answer) == [(hour - 3 * HOUR.length_ms, hour - HOUR.length_ms)]


def test_a_range_covers_no_more_than_itself_and_all_of_it_in_the_end() -> None:
    start, end = THIS_MINUTE - 100 * MINUTE_MS, THIS_MINUTE - 50 * MINUTE_MS
    asked = Asked(MINUTE, start, end)
    assert asked.received(page(minutes(-70, -60))) == [(THIS_MINUTE - 70 * MINUTE_MS, end)]
    assert asked.exhausted() == [(start, THIS_MINUTE - 70 * MINUTE_MS)]


def test_a_range_that_was_left_once_there_were_bars_enough_is_not_covered_to_its_start() -> None:
    start = THIS_MINUTE - 100 * MINUTE_MS
    enough, fewer = Asked(MINUTE, start, None, 2), Asked(MINUTE, start, None, 3)
    for asked in (enough, fewer):
        asked.received(page(minutes(-2, -1), forming=True))
    assert (enough.exhausted(), fewer.exhausted()) == ([], [(start, THIS_MINUTE - 2 * MINUTE_MS)])


@pytest.mark.parametrize("why", ["end", "limit"])
def test_where_the_source_ends_nothing_older_is_claimed(why: str) -> None:
    asked = Asked(MINUTE, THIS_MINUTE - 10**9, None)
    asked.received(page(minutes(-2, -1), forming=True))
    asked.received(page(minutes(-4), ended=why))
    assert (asked.ended, asked.ended_ms, asked.exhausted()) == (why, THIS_MINUTE - 4 * MINUTE_MS, [])


def test_an_empty_answer_about_the_past_ends_at_the_end_of_the_range() -> None:
    asked = Asked(MINUTE, 0, 1000)
    assert asked.received(page(Bars.empty(), ended="end")) == []
    assert (asked.ended, asked.ended_ms) == ("end", 1000)


# --- What is kept of it ---


def test_ranges_are_merged_and_the_end_is_dated(series: Series) -> None:
    store = CoverageStore(Database())
    assert store.of(series) == Coverage()
    store.add(series, [(10, 20)])
    store.add(series, [(30, 40), (15, 30)])
    assert store.of(series) == Coverage(((10, 40),))
    store.add(series, [(5, 10)], "limit", 5)
    found = store.of(series)
    assert (found.ranges, found.ended, found.ended_ms) == (((5, 40),), "limit", 5)
    assert found.ended_at is not None
    assert found.ended_at.tzinfo is not None
    assert store.all([series]) == {series.id: found}


def test_what_is_known_already_is_not_written_again(series: Series) -> None:
    store, collection = CoverageStore(Database()), Database().collection("bar_coverage")
    store.add(series, [(10, 20)], "end", 10)
    before = collection.find_one()
    store.add(series, [(12, 18)], "end", 10)
    store.add(series, [])
    assert collection.find_one() == before


def test_a_revision_has_a_coverage_of_its_own(series: Series) -> None:
    store = CoverageStore(Database())
    store.add(series, [(10, 20)])
    assert store.of(replace(series, revision=2)) == Coverage()
    store.forget(series)
    assert store.of(series) == Coverage()


def test_many_writers_lose_nothing(series: Series) -> None:
    def write(n: int) -> None:
        store = CoverageStore(Database())
        for step in range(10):
            store.add(series, [(100 * step + n, 100 * step + n + 1)])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert CoverageStore(Database()).of(series).ranges == tuple((100 * n, 100 * n + 4) for n in range(10))


def test_beyond_the_bound_the_shortest_ranges_are_forgotten(series: Series) -> None:
    store = CoverageStore(Database(), most=3)
    store.add(series, [(0, 10), (20, 21), (30, 40), (50, 60)])
    assert store.of(series).ranges == ((0, 10), (30, 40), (50, 60))


def test_a_backfill_of_some_bars_above_what_is_covered_claims_no_more_than_it_received(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN)
    day = NOW_MS - NOW_MS % DAY_MS
    fill(provider, bars, start_at=from_ms(day - 2 * DAY_MS), end_at=from_ms(day - DAY_MS))
    fill(provider, bars, bars=100)
    series = bars.find(COIN, MINUTE)
    assert series is not None
    covered = CoverageStore(Database()).of(series).ranges
    assert covered == ((day - 2 * DAY_MS, day - DAY_MS), (THIS_MINUTE - 100 * MINUTE_MS, THIS_MINUTE))
    for low, high in covered:
        assert bars.read(series, low, high).same_as(source.market.bars(COIN, MINUTE, low, high))


@pytest.mark.parametrize("by", ["backfill", "pull"])
def test_wherever_a_process_dies_nothing_is_covered_that_is_not_stored_and_the_next_one_ends_it(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    add_symbol(provider, COIN, "1m")
    for writes in itertools.count():
        with killed_after(writes, monkeypatch) as killed:
            if by == "backfill":
                fill(provider, bars, bars=6000)
            else:
                pulls.pull(provider, bars, MINUTE, NOW_MS)
        series = bars.find(COIN, MINUTE)
        for low, high in CoverageStore(Database()).of(series).ranges if series else ():
            assert bars.read(series, low, high).same_as(source.market.bars(COIN, MINUTE, low, high))
        if not killed:
            break
    assert writes >= 4
    assert series is not None
    count = 6000 if by == "backfill" else pulls.FIRST_BARS
    assert bars.read(series).same_as(source.market.last(COIN, MINUTE, count, THIS_MINUTE))
    assert CoverageStore(Database()).of(series).ranges == ((THIS_MINUTE - count * MINUTE_MS, THIS_MINUTE),)


def fill(provider: IDataProvider, store: BarStore, **wish: object) -> None:
    job = BackfillJob(symbol=COIN, interval="1m", **wish)
    start_here(job)
    backfill.run(job, provider, store, now_ms=NOW_MS)
