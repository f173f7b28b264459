"""The grid of bars that trading hours make: where each opens and closes, and how many there are."""

import numpy as np
import pytest

from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.tradingview.hours import CACHE_DATES, TradingHours
from tests.tradingview.markets import CRYPTO, EVERY, FUTURE, KOLKATA, LUNCH, NEW_YORK, local, ms, on


def test_the_grid_starts_at_the_session_and_its_last_bar_is_short() -> None:
    opens = NEW_YORK.opens(ms(2024, 11, 29), ms(2024, 11, 30), INTERVALS["1h"]).tolist()
    assert opens == [ms(2024, 11, 29, hour, 30) for hour in (14, 15, 16, 17)]
    assert NEW_YORK.bar_close_ms(opens[-1], INTERVALS["1h"]) == ms(2024, 11, 29, 18)
    assert KOLKATA.opens(ms(2024, 6, 4), ms(2024, 6, 5), INTERVALS["1h"])[0] == ms(2024, 6, 4, 3, 45)


def test_the_grid_starts_again_after_the_lunch_break() -> None:
    noon = local("Asia/Shanghai", 2024, 6, 4, 12)
    assert LUNCH.opens(ms(2024, 6, 4), ms(2024, 6, 5), INTERVALS["45m"]).tolist() == [
        local("Asia/Shanghai", 2024, 6, 4, *at)
        for at in ((9, 30), (10, 15), (11, 0), (13, 0), (13, 45), (14, 30))
    ]  # fmt: skip
    assert (LUNCH.is_open(noon), LUNCH.bar_open_ms(noon, INTERVALS["1m"])) == (False, None)
    assert LUNCH.bar_open_ms(noon, INTERVALS["1d"]) == local("Asia/Shanghai", 2024, 6, 4, 9, 30)


def test_week_and_month_reach_from_the_first_opening_to_the_last_closing() -> None:
    black_friday = ms(2024, 11, 29, 17)
    week, month = INTERVALS["1w"], INTERVALS["1M"]
    assert NEW_YORK.bar_open_ms(black_friday, week) == ms(2024, 11, 25, 14, 30)
    assert NEW_YORK.bar_close_ms(ms(2024, 11, 25, 14, 30), week) == ms(2024, 11, 29, 18)
    assert NEW_YORK.bar_open_ms(black_friday, month) == ms(2024, 11, 1, 13, 30)
    assert NEW_YORK.bar_close_ms(ms(2024, 11, 1, 13, 30), month) == ms(2024, 11, 29, 18)
    assert NEW_YORK.bar_open_ms(ms(2024, 11, 30, 12), week) is None


def test_the_first_evening_of_a_month_may_lie_in_the_month_before() -> None:
    assert FUTURE.bar_open_ms(local("America/Chicago", 2024, 9, 30, 18), INTERVALS["1M"]) == local(
        "America/Chicago", 2024, 9, 30, 17
    )


def test_a_week_may_start_on_sunday() -> None:
    riyadh = EVERY["week from Sunday"]
    assert riyadh.opens(ms(2024, 6, 1), ms(2024, 6, 15), INTERVALS["1w"]).tolist() == [
        ms(2024, 6, 2, 7),
        ms(2024, 6, 9, 7),
    ]
    assert TradingHours.parse("1000-1500:12345;1", "Asia/Riyadh") == riyadh


def test_a_week_of_holidays_has_no_weekly_bar() -> None:
    closed = TradingHours.parse("0930-1500", "Asia/Shanghai", [f"202410{day:02}" for day in range(1, 8)] + ["20240930"])
    assert closed.opens(ms(2024, 9, 29), ms(2024, 10, 10), INTERVALS["1w"]).tolist() == [ms(2024, 10, 8, 1, 30)]


@pytest.mark.parametrize(
    ("opened", "interval", "closes"),
    [
        (ms(2024, 11, 4, 12), "1h", ms(2024, 11, 4, 13)),  # outside the session: nominal
        (ms(2024, 11, 4), "1d", ms(2024, 11, 4, 21)),  # a date at midnight UTC: that day's session
        (ms(2024, 11, 4, 14, 20), "1w", ms(2024, 11, 8, 21)),
        (ms(2024, 11, 30, 12), "1d", ms(2024, 12, 1, 12)),  # a Saturday: nominal
    ],
)
def test_a_bar_that_opens_outside_the_hours_closes_all_the_same(opened: int, interval: str, closes: int) -> None:
    assert NEW_YORK.bar_close_ms(opened, INTERVALS[interval]) == closes


@pytest.mark.parametrize(
    ("hours", "per_week"),
    [
        (NEW_YORK, {"1m": 1950, "1h": 35, "4h": 10, "1d": 5, "1w": 1}),
        (CRYPTO, {"1m": 10080, "1h": 168, "4h": 42, "1d": 7, "1w": 1}),
        (FUTURE, {"1m": 6900, "1h": 115, "4h": 30, "1d": 5, "1w": 1}),
    ],
)
def test_bars_of_an_ordinary_week(hours: TradingHours, per_week: dict[str, float]) -> None:
    assert {name: hours.bars_per_week(INTERVALS[name]) for name in per_week} == per_week


def test_two_years_of_crypto_minutes_are_a_million_even_steps() -> None:
    opens = CRYPTO.opens(ms(2023, 1, 1), ms(2025, 1, 1), INTERVALS["1m"])
    assert np.array_equal(opens, np.arange(ms(2023, 1, 1), ms(2025, 1, 1), MINUTE_MS))


def test_an_empty_range_has_no_bars() -> None:
    assert [NEW_YORK.opens(ms(2024, 11, 30), ms(2024, 12, 1), i).tolist() for i in INTERVALS.values()] == [[]] * len(
        INTERVALS
    )


def test_a_long_history_does_not_grow_the_memory_without_bound() -> None:
    hours = TradingHours.parse("0930-1600", "America/New_York")
    hours.opens(ms(1970, 1, 1), ms(2024, 1, 1), INTERVALS["1d"])
    assert len(hours._cache) <= CACHE_DATES
    assert on(hours, 1999, 12, 31) == [(ms(1999, 12, 31, 14, 30), ms(1999, 12, 31, 21))]
