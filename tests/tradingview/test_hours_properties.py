"""Any market's hours at any moment: what they say of spans, bars and openings fits together."""

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure.intervals import DAY_MS, INTERVALS, Interval
from infrastructure.tradingview.hours import TradingHours
from tests.tradingview.markets import EVERY, ms

any_hours = st.sampled_from(sorted(EVERY)).map(EVERY.__getitem__)
any_interval = st.sampled_from(sorted(INTERVALS)).map(INTERVALS.__getitem__)
# Most often near the changes of the clocks, in whole seconds.
any_ms = st.one_of(
    st.integers(ms(2024, 3, 8), ms(2024, 4, 2)),
    st.integers(ms(2024, 10, 25), ms(2024, 11, 6)),
    st.integers(ms(2017, 1, 1), ms(2026, 1, 1)),
).map(lambda t: t // 1000 * 1000)


@settings(max_examples=400)
@given(any_hours, any_interval, any_ms)
def test_every_moment_is_in_the_bar_that_the_grid_has_for_it(
    hours: TradingHours, interval: Interval, moment: int
) -> None:
    """`opens`, `bar_open_ms`, `bar_close_ms` and `is_open` tell the same story."""
    before = 45 * DAY_MS
    opens = hours.opens(moment - before, moment + 1, interval).tolist()
    expected = opens[-1] if opens and moment < hours.bar_close_ms(opens[-1], interval) else None
    assert hours.bar_open_ms(moment, interval) == expected
    if interval.intraday:
        assert (expected is not None) == hours.is_open(moment)


@settings(max_examples=200)
@given(any_hours, any_interval, any_ms, st.integers(1, 60))
def test_bars_ascend_and_end_before_the_next_one_opens(
    hours: TradingHours, interval: Interval, start: int, days: int
) -> None:
    end = start + days * DAY_MS
    opens = hours.opens(start, end, interval).tolist()
    assert all(start <= t < end for t in opens)
    assert all(hours.bar_open_ms(t, interval) == t for t in opens[:50])
    assert all(t < hours.bar_close_ms(t, interval) <= after for t, after in pairwise(opens))


@settings(max_examples=200)
@given(any_hours, any_ms, st.integers(0, 20 * DAY_MS), st.integers(0, 20 * DAY_MS), any_interval)
def test_a_range_cut_in_two_has_the_same_bars(
    hours: TradingHours, start: int, first: int, rest: int, interval: Interval
) -> None:
    middle, end = start + first, start + first + rest
    parts = np.concatenate([hours.opens(start, middle, interval), hours.opens(middle, end, interval)])
    assert np.array_equal(parts, hours.opens(start, end, interval))


@settings(max_examples=300)
@given(any_hours, any_ms)
def test_the_next_opening_is_where_trading_begins(hours: TradingHours, moment: int) -> None:
    opening = hours.next_open_ms(moment)
    assert opening is None or (opening > moment and hours.is_open(opening) and not hours.is_open(opening - 1))


@settings(max_examples=200)
@given(st.sampled_from(["America/New_York", "Europe/London", "Asia/Kolkata", "America/Chicago"]), any_ms)
def test_open_means_the_wall_clock_says_so(zone: str, moment: int) -> None:
    """An independent reading of `1700-1600`: open unless it is 16:00-17:00, or the weekend between."""
    at = datetime.fromtimestamp(moment / 1000, ZoneInfo(zone))
    trading_day = (at + timedelta(hours=7)).weekday()  # 17:00 and later counts for the next day
    expected = trading_day < 5 and (at.hour < 16 or at.hour >= 17)
    assert TradingHours.parse("1700-1600", zone).is_open(moment) == expected
