"""Days on which the clock or the closing time changes, for every kind of session: what is checked on the way in, what
counts as missing, and what is made of finer bars."""

from datetime import UTC, datetime
from functools import cache

import numpy as np
import pytest

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.simulator.market import Market
from infrastructure.times import to_ms
from infrastructure.tradingview.hours import TradingHours
from marketdata.services.bar_checks import Fault, check
from marketdata.services.gaps import gaps
from marketdata.services.resampling import is_multiple, resampled

MARKET = Market(seed=1)
KEYS = (
    "BINANCE:BTCUSDT", "NASDAQ:AAPL", "CME_MINI:ES1!", "FX:EURUSD", "NSE:RELIANCE", "HKEX:700", "KRX:005930", "SP:SPX",
    "LSE:VOD",
)  # fmt: skip
WEEKS = {
    "summer time begins in America": ("2026-03-05", "2026-03-12"),
    "summer time begins in Europe, Easter": ("2026-03-26", "2026-04-08"),
    "summer time ends in Europe, then in America": ("2026-10-22", "2026-11-05"),
    "Thanksgiving and an early close": ("2025-11-25", "2025-12-02"),
    "Christmas and New Year": ("2025-12-22", "2026-01-06"),
}
NAMES = ("1m", "15m", "45m", "1h", "4h", "1d")


@cache
def hours_of(key: str) -> TradingHours:
    info = MARKET.info(key)
    return TradingHours.parse(info.session, info.timezone, info.holidays, info.corrections)


def at(day: str) -> int:
    return to_ms(datetime.fromisoformat(day).replace(tzinfo=UTC))


@cache
def traded(key: str, name: str, week: str) -> Bars:
    start, end = WEEKS[week]
    return MARKET.bars(key, INTERVALS[name], at(start), at(end))


everywhere = pytest.mark.parametrize("week", WEEKS)
of_each = pytest.mark.parametrize("key", KEYS)


@everywhere
@of_each
def test_true_bars_are_accepted_and_those_off_the_grid_set_aside(key: str, week: str) -> None:
    for name in NAMES:
        true, interval = traded(key, name, week), INTERVALS[name]
        assert check(true, interval, hours_of(key), None).good is true
        assert len(true) > 0
        beside = Bars(true.time_ms + MINUTE_MS, *true.columns[1:])
        inside = np.array([hours_of(key).is_open(ms) for ms in beside.time_ms.tolist()])
        if name != "1m":
            assert {fault for _, fault in check(beside, interval, hours_of(key), None).bad} == {Fault.GRID}
            assert len(check(beside, interval, hours_of(key), None).bad) == inside.sum()


@everywhere
@of_each
def test_what_is_missing_of_nothing_is_every_bar_that_was_traded(key: str, week: str) -> None:
    for name in NAMES:
        true, interval = traded(key, name, week), INTERVALS[name]
        start, end = map(at, WEEKS[week])
        (low, high), middle = (start, end), int(true.time_ms[len(true) // 2])
        assert sum(gap.bars for gap in gaps([], hours_of(key), interval, low, high)) == len(true)
        after = gaps([(low, middle)], hours_of(key), interval, low, high)
        assert sum(gap.bars for gap in after) == len(true) - len(true) // 2
        assert after[0].start_ms == middle
        assert gaps([(low, high)], hours_of(key), interval, low, high) == []


@everywhere
@of_each
def test_finer_bars_make_the_coarser_ones_of_the_simulator(key: str, week: str) -> None:
    for fine, coarse in ((a, b) for a in NAMES for b in NAMES if is_multiple(INTERVALS[b], INTERVALS[a])):
        true = traded(key, coarse, week)
        start, end = int(true.time_ms[0]), hours_of(key).bar_close_ms(int(true.time_ms[-1]), INTERVALS[coarse])
        made = resampled(MARKET.bars(key, INTERVALS[fine], start, end), hours_of(key), INTERVALS[coarse])
        assert made.same_as(true), (fine, coarse)
