import itertools
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS, Interval
from infrastructure.simulator.market import Market
from infrastructure.times import to_ms
from infrastructure.tradingview.hours import TradingHours
from marketdata.services.bar_checks import Fault, check
from tests.platform.conftest import NOW_MS

NEW_YORK = TradingHours.parse("0930-1600", "America/New_York", ["20261126"])
ALWAYS = TradingHours.parse("24x7", "Etc/UTC")
TOKYO = TradingHours.parse("0900-1130,1230-1530", "Asia/Tokyo")
FUTURES = TradingHours.parse("1700-1600", "America/Chicago")
MINUTE, HOUR, DAY, WEEK = (INTERVALS[name] for name in ("1m", "1h", "1d", "1w"))


def at(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


START = at("2026-11-19T15:00")


def bar(
    time_ms: int, open: float = 10.0, high: float = 12.0, low: float = 9.0, close: float = 11.0, volume: float = 5.0
) -> Bar:
    return Bar(time_ms, open, high, low, close, volume)


def batch(*bars: Bar) -> Bars:
    return Bars.from_rows([(one.time_ms, one.open, one.high, one.low, one.close, one.volume) for one in bars])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (bar(START, high=10.5), Fault.HIGH),
        (bar(START, open=12.5), Fault.HIGH),
        (bar(START, high=8.0), Fault.HIGH),
        (bar(START, low=10.5), Fault.LOW),
        (bar(START, low=11.0, open=11.5), None),
        (bar(START, low=11.01), Fault.LOW),
        (bar(START, open=NAN), Fault.PRICE),
        (bar(START, high=INF), Fault.PRICE),
        (bar(START, low=-INF), Fault.PRICE),
        (bar(START, close=NAN), Fault.PRICE),
        (bar(START, volume=-1.0), Fault.VOLUME),
        (bar(START, volume=INF), Fault.VOLUME),
        (bar(START, volume=NAN), None),
        (bar(START, volume=0.0), None),
        (bar(START, -40.0, -30.0, -50.0, -35.0), None),
        (bar(START, 0.0, 0.0, 0.0, 0.0), None),
        (bar(START + 1), Fault.GRID),
        (bar(START + 30_000), Fault.GRID),
        (bar(START + DAY_MS), Fault.FUTURE),
        (bar(-62_135_596_800_000), Fault.YEARS),
    ],
)  # fmt: skip
def test_a_bar_that_cannot_be_true_is_set_aside_with_its_reason(bad: Bar, fault: Fault | None) -> None:
    before, after = bar(START - MINUTE_MS), bar(START + MINUTE_MS)
    checked = check(batch(before, bad, after), MINUTE, ALWAYS, START + 5 * MINUTE_MS)
    if fault is None:
        assert (list(checked.good)[::2], checked.bad) == ([before, after], [])
        assert len(checked.good) == 3
    else:
        assert list(checked.good) == [before, after]
        assert [(repr(one), why) for one, why in checked.bad] == [(repr(bad), fault)]


def test_every_fault_has_a_bar_in_these_tests() -> None:
    """ORDER and FORMING have tests of their own."""
    marks = test_a_bar_that_cannot_be_true_is_set_aside_with_its_reason.pytestmark  # type: ignore[attr-defined]
    assert {fault for _, fault in marks[0].args[1]} - {None} | {Fault.ORDER, Fault.FORMING} == set(Fault)


def test_times_must_increase_and_one_wild_time_does_not_condemn_the_rest() -> None:
    times = [0, 2, 1, 2, 3, DAY_MS, 4]
    given = [bar(START + step * MINUTE_MS) for step in times]
    checked = check(batch(*given), MINUTE, ALWAYS, START + 60 * MINUTE_MS)
    assert [one.time_ms for one in checked.good] == [START + step * MINUTE_MS for step in (0, 2, 3, 4)]
    assert [why for _, why in checked.bad] == [Fault.ORDER, Fault.ORDER, Fault.FUTURE]


def test_the_first_fault_of_a_bar_is_its_reason() -> None:
    worst = bar(START + 500, open=NAN, high=1.0, volume=-1.0)
    assert [why for _, why in check(batch(worst), MINUTE, ALWAYS, START - 1).bad] == [Fault.FUTURE]
    assert [why for _, why in check(batch(worst), MINUTE, ALWAYS, None).bad] == [Fault.PRICE]


@pytest.mark.parametrize(
    ("hours", "interval", "time", "now", "closed"),
    [
        (ALWAYS, MINUTE, "2026-11-19T15:00", "2026-11-19T15:00:59", False),
        (ALWAYS, MINUTE, "2026-11-19T15:00", "2026-11-19T15:01", True),
        (None, HOUR, "2026-11-19T15:00", "2026-11-19T15:59", False),
        (None, HOUR, "2026-11-19T15:00", "2026-11-19T16:00", True),
        (NEW_YORK, HOUR, "2026-11-19T20:30", "2026-11-19T20:59", False),  # the short last bar of a day
        (NEW_YORK, HOUR, "2026-11-19T20:30", "2026-11-19T21:00", True),
        (NEW_YORK, DAY, "2026-11-19T14:30", "2026-11-19T20:59", False),
        (NEW_YORK, DAY, "2026-11-19T14:30", "2026-11-19T21:00", True),
        (NEW_YORK, WEEK, "2026-11-16T14:30", "2026-11-20T20:59", False),
        (NEW_YORK, WEEK, "2026-11-16T14:30", "2026-11-20T21:00", True),
        (FUTURES, DAY, "2026-11-18T23:00", "2026-11-19T21:59", False),
        (FUTURES, DAY, "2026-11-18T23:00", "2026-11-19T22:00", True),
    ],
)  # fmt: skip
def test_a_bar_that_nobody_has_called_closed_must_have_closed(
    hours: TradingHours | None, interval: Interval, time: str, now: str, closed: bool
) -> None:
    given = batch(bar(at(time) - 14 * DAY_MS), bar(at(time)))
    checked = check(given, interval, hours, at(now), closed=False)
    assert [(one.time_ms, why) for one, why in checked.bad] == ([] if closed else [(at(time), Fault.FORMING)])
    assert check(given, interval, hours, at(now)).bad == []


@pytest.mark.parametrize(
    ("hours", "interval", "time", "good"),
    [
        (NEW_YORK, HOUR, "2026-11-19T14:30", True),  # the grid begins with the session
        (NEW_YORK, HOUR, "2026-11-19T15:00", False),
        (NEW_YORK, HOUR, "2026-07-15T13:30", True),  # summer time
        (NEW_YORK, HOUR, "2026-07-15T14:00", False),
        (NEW_YORK, HOUR, "2026-11-19T20:30", True),  # the short last bar
        (NEW_YORK, HOUR, "2026-11-19T21:30", True),  # outside the hours the source knows better
        (NEW_YORK, MINUTE, "2026-11-26T15:00", True),  # so on a holiday
        (NEW_YORK, DAY, "2026-11-19T14:30", True),
        (NEW_YORK, DAY, "2026-11-19T15:30", False),
        (NEW_YORK, DAY, "2026-11-19T00:00", True),
        (NEW_YORK, WEEK, "2026-11-16T14:30", True),
        (NEW_YORK, WEEK, "2026-11-17T14:30", True),  # after a holiday that is not listed
        (NEW_YORK, WEEK, "2026-11-17T14:31", False),
        (TOKYO, HOUR, "2026-11-19T02:00", True),
        (TOKYO, HOUR, "2026-11-19T03:30", True),  # 12:30, after lunch
        (TOKYO, HOUR, "2026-11-19T04:00", False),
        (TOKYO, DAY, "2026-11-19T03:30", False),  # the second span of the day
        (FUTURES, HOUR, "2026-11-18T23:00", True),  # the evening before
        (FUTURES, HOUR, "2026-11-19T07:30", False),
        (FUTURES, DAY, "2026-11-18T23:00", True),
        (FUTURES, DAY, "2026-11-19T06:00", False),
        (None, HOUR, "2026-11-19T07:13", True),
    ],
)  # fmt: skip
def test_the_grid_is_that_of_the_session(hours: TradingHours | None, interval: object, time: str, good: bool) -> None:
    checked = check(batch(bar(at(time))), interval, hours, None)  # type: ignore[arg-type]
    assert [why for _, why in checked.bad] == ([] if good else [Fault.GRID])


@pytest.mark.parametrize(
    ("key", "name"),
    list(
        itertools.product(
            ("BINANCE:BTCUSDT", "NASDAQ:AAPL", "CME_MINI:ES1!", "FX:EURUSD", "NSE:RELIANCE", "KRX:005930", "SP:SPX"),
            ("1m", "5m", "45m", "1h", "4h", "1d", "1w", "1M"),
        )
    ),
)
def test_no_true_bar_of_the_simulator_is_set_aside(key: str, name: str) -> None:
    market, interval = Market(seed=1), INTERVALS[name]
    info = market.info(key)
    hours = TradingHours.parse(info.session, info.timezone, info.holidays, info.corrections)
    given = market.last(key, interval, 500, NOW_MS)
    checked = check(given, interval, hours, NOW_MS)
    assert len(given) > 100
    assert (checked.good is given, checked.bad) == (True, [])


def test_a_batch_of_bars_centuries_apart_costs_no_more_dates_than_it_has_bars() -> None:
    wild = [bar(at(f"{year}-01-04T14:30")) for year in range(1100, 8900, 100)]
    hours = TradingHours.parse("0930-1600", "America/New_York")
    began = time.process_time()
    check(batch(*wild), MINUTE, hours, None)
    assert len(hours._cache) <= 3 * len(wild)
    assert time.process_time() - began < 60  # a hang, not a speed


def test_an_empty_batch_is_good() -> None:
    checked = check(Bars.empty(), MINUTE, NEW_YORK, NOW_MS)
    assert (len(checked.good), checked.bad) == (0, [])


def test_columns_of_good_bars_are_not_copied_or_changed() -> None:
    given = batch(*(bar(START + i * MINUTE_MS) for i in range(100)))
    kept = check(given, MINUTE, ALWAYS, None).good
    assert kept is given
    assert np.shares_memory(kept.close, given.close)
