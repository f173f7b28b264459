from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.ranges import Range
from infrastructure.times import to_ms
from infrastructure.tradingview.hours import TradingHours
from marketdata.services.gaps import Gap, gaps

MARKETS = {
    "24x7": TradingHours.parse("24x7", "Etc/UTC"),
    "New York": TradingHours.parse("0930-1600", "America/New_York", ["20261126"], "0930-1300:20261127"),
    "Tokyo": TradingHours.parse("0900-1130,1230-1530", "Asia/Tokyo"),
    "Chicago": TradingHours.parse("1700-1600", "America/Chicago"),
    "per day": TradingHours.parse("0930-1600:23456|1000-1200:7", "America/New_York"),
}
MINUTE, HOUR, DAY = INTERVALS["1m"], INTERVALS["1h"], INTERVALS["1d"]


def at(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def gap(start: str, end: str, bars: int) -> Gap:
    return Gap(at(start), at(end), bars)


@pytest.mark.parametrize(
    ("market", "name", "start", "end", "expected"),
    [
        ("24x7", "1h", "2026-11-20", "2026-11-21", [gap("2026-11-20T00:00", "2026-11-21T00:00", 24)]),
        ("New York", "1h", "2026-11-21", "2026-11-23", []),  # a weekend
        ("New York", "1h", "2026-11-26", "2026-11-27", []),  # a holiday
        ("New York", "1h", "2026-11-27", "2026-11-28", [gap("2026-11-27T14:30", "2026-11-27T18:00", 4)]),  # early close
        ("New York", "1h", "2026-10-30", "2026-10-31", [gap("2026-10-30T13:30", "2026-10-30T20:00", 7)]),  # summer time
        ("New York", "1h", "2026-11-02", "2026-11-03", [gap("2026-11-02T14:30", "2026-11-02T21:00", 7)]),
        ("Tokyo", "1h", "2026-11-19", "2026-11-20", [gap("2026-11-19T00:00", "2026-11-19T06:30", 6)]),
        ("Chicago", "1h", "2026-11-19T20:00", "2026-11-20T02:00", [gap("2026-11-19T20:00", "2026-11-20T02:00", 5)]),
        ("Chicago", "1d", "2026-11-14", "2026-11-16", [gap("2026-11-15T23:00", "2026-11-16T22:00", 1)]),
        ("per day", "1h", "2026-11-21", "2026-11-22", [gap("2026-11-21T15:00", "2026-11-21T17:00", 2)]),
    ],
)  # fmt: skip
def test_time_with_trading_that_nobody_asked_for_is_a_gap(
    market: str, name: str, start: str, end: str, expected: list[Gap]
) -> None:
    assert gaps([], MARKETS[market], INTERVALS[name], at(start), at(end)) == expected


def test_covered_time_is_no_gap_and_splits_one() -> None:
    hours = MARKETS["New York"]
    covered = [(at("2026-11-18T16:30"), at("2026-11-18T17:30")), (at("2026-11-18T20:30"), at("2026-11-19T15:30"))]
    assert gaps(covered, hours, HOUR, at("2026-11-18"), at("2026-11-20")) == [
        gap("2026-11-18T14:30", "2026-11-18T16:30", 2),
        gap("2026-11-18T17:30", "2026-11-18T20:30", 3),
        gap("2026-11-19T15:30", "2026-11-19T21:00", 6),
    ]
    assert gaps([(at("2026-11-18"), at("2026-11-20"))], hours, HOUR, at("2026-11-18"), at("2026-11-20")) == []


week = at("2026-11-22")
moment = st.integers(0, 14 * 24 * 6).map(lambda n: week - 7 * DAY_MS + n * 10 * MINUTE_MS)
stretches = st.lists(st.tuples(moment, moment).map(lambda pair: (min(pair), max(pair))), max_size=6)


@settings(deadline=None)
@given(st.sampled_from(sorted(MARKETS)), st.sampled_from(["5m", "1h", "1d"]), stretches, moment, moment)
def test_the_bars_in_gaps_are_those_expected_and_not_covered(
    market: str, name: str, covered: list[Range], one: int, other: int
) -> None:
    hours, interval, start, end = MARKETS[market], INTERVALS[name], min(one, other), max(one, other)
    found = gaps(covered, hours, interval, start, end)
    expected = [
        ms for ms in hours.opens(start, end, interval).tolist() if not any(low <= ms < high for low, high in covered)
    ]
    inside = [ms for ms in expected if any(gap.start_ms <= ms < gap.end_ms for gap in found)]
    assert (inside, sum(gap.bars for gap in found)) == (expected, len(expected))
    assert all(gap.start_ms in expected for gap in found)


def test_years_of_minutes_are_counted_in_slices() -> None:
    (found,) = gaps([], MARKETS["24x7"], MINUTE, at("2010-01-01"), at("2020-01-01"))
    assert found == gap("2010-01-01", "2020-01-01", 3652 * 1440)
