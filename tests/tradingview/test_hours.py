"""When a market trades: the spans of a date, and what is open or opens next."""

from datetime import date, timedelta

import pytest

from infrastructure.tradingview.hours import Span, TradingHours
from tests.tradingview.markets import (
    AROUND_THE_CLOCK,
    CRYPTO,
    EVERY,
    FUTURE,
    KOLKATA,
    LONDON,
    MOSCOW,
    NEW_YORK,
    local,
    ms,
    on,
)


def test_a_session_moves_in_utc_when_new_york_changes_its_clocks() -> None:
    assert on(NEW_YORK, 2024, 11, 1) == [(ms(2024, 11, 1, 13, 30), ms(2024, 11, 1, 20))]
    assert on(NEW_YORK, 2024, 11, 4) == [(ms(2024, 11, 4, 14, 30), ms(2024, 11, 4, 21))]


def test_a_session_moves_in_utc_when_london_changes_its_clocks() -> None:
    assert on(LONDON, 2024, 3, 28) == [(ms(2024, 3, 28, 8), ms(2024, 3, 28, 16, 30))]
    assert on(LONDON, 2024, 4, 2) == [(ms(2024, 4, 2, 7), ms(2024, 4, 2, 15, 30))]


@pytest.mark.parametrize("day", [(2024, 3, 12), (2024, 7, 1), (2024, 11, 5)])
def test_kolkata_opens_at_the_same_utc_time_all_year(day: tuple[int, int, int]) -> None:
    assert on(KOLKATA, *day) == [(ms(*day, 3, 45), ms(*day, 10))]


def test_holidays_and_weekends_have_no_spans() -> None:
    assert [on(NEW_YORK, 2024, 12, day) for day in (25, 28, 29)] == [[], [], []]


def test_a_correction_closes_early_or_for_the_whole_day() -> None:
    assert on(NEW_YORK, 2024, 11, 29) == [(ms(2024, 11, 29, 14, 30), ms(2024, 11, 29, 18))]
    assert on(NEW_YORK, 2025, 1, 9) == []


def test_a_correction_outweighs_holiday_and_weekend() -> None:
    hours = TradingHours.parse("0915-1530", "Asia/Kolkata", ["20241101"], "1800-1900:20241101;0915-1230:20240120")
    assert on(hours, 2024, 11, 1) == [(ms(2024, 11, 1, 12, 30), ms(2024, 11, 1, 13, 30))]
    assert on(hours, 2024, 1, 20) == [(ms(2024, 1, 20, 3, 45), ms(2024, 1, 20, 7))]


def test_an_overnight_session_starts_on_the_evening_before_its_trading_date() -> None:
    assert on(FUTURE, 2024, 11, 4) == [(ms(2024, 11, 3, 23), ms(2024, 11, 4, 22))]  # Monday's: from Sunday evening
    assert on(FUTURE, 2024, 11, 3) == []


def test_a_span_may_name_the_days_before() -> None:
    assert on(MOSCOW, 2018, 11, 13) == [
        (local("Europe/Moscow", 2018, 11, 9, 19), local("Europe/Moscow", 2018, 11, 9, 23, 50)),
        (local("Europe/Moscow", 2018, 11, 13, 10), local("Europe/Moscow", 2018, 11, 13, 18, 45)),
    ]
    assert on(MOSCOW, 2018, 11, 14)[0] == (
        local("Europe/Moscow", 2018, 11, 13, 19),
        local("Europe/Moscow", 2018, 11, 13, 23, 50),
    )


def test_days_may_have_their_own_hours() -> None:
    hours = TradingHours.parse("0900-1630|0900-1400:2|1000-1100:7", "Etc/UTC")
    assert [on(hours, 2024, 6, day) for day in range(2, 9)] == [
        [],
        [(ms(2024, 6, 3, 9), ms(2024, 6, 3, 14))],
        *([(ms(2024, 6, day, 9), ms(2024, 6, day, 16, 30))] for day in range(4, 8)),
        [(ms(2024, 6, 8, 10), ms(2024, 6, 8, 11))],
    ]


@pytest.mark.parametrize("text", ["0000-0000:1234567", "0000-2400:1234567", "24x7", "24X7"])
def test_a_whole_day_has_several_spellings(text: str) -> None:
    assert TradingHours.parse(text, "Etc/UTC") == CRYPTO


@pytest.mark.parametrize(
    "text", ["1800F1-1700", "1800-1700", "1800-1700:23456", " 1800-1700 ", "1800-1700:2|1800-1700"]
)
def test_an_overnight_session_has_several_spellings(text: str) -> None:
    assert TradingHours.parse(text, "America/New_York") == TradingHours.parse("1800F1-1700", "America/New_York")


def test_a_skipped_hour_makes_no_span_of_negative_length() -> None:
    assert on(EVERY["skipped hour"], 2024, 3, 10) == [
        (ms(2024, 3, 10, 5), ms(2024, 3, 10, 7, 15)),
        (ms(2024, 3, 10, 7, 30), ms(2024, 3, 10, 13, 30)),
    ]


def test_spans_are_values() -> None:
    assert CRYPTO.spans_on(date(2024, 6, 5)) == (Span(date(2024, 6, 5), ms(2024, 6, 5), ms(2024, 6, 6)),)


def test_a_span_holds_its_first_moment_and_not_its_last() -> None:
    opening, closing = ms(2024, 11, 4, 14, 30), ms(2024, 11, 4, 21)
    assert [NEW_YORK.is_open(t) for t in (opening - 1, opening, closing - 1, closing)] == [False, True, True, False]


def test_the_next_opening_skips_weekend_and_holiday() -> None:
    wednesday_night = ms(2024, 11, 27, 22)
    assert NEW_YORK.next_open_ms(wednesday_night) == ms(2024, 11, 29, 14, 30)
    assert NEW_YORK.next_open_ms(ms(2024, 11, 29, 15)) == ms(2024, 12, 2, 14, 30)


def test_what_never_closes_has_no_next_opening() -> None:
    assert CRYPTO.next_open_ms(ms(2024, 6, 5, 12)) is None


def test_sessions_that_touch_are_one_stretch() -> None:
    tuesday = local("America/New_York", 2024, 6, 4, 12)
    assert AROUND_THE_CLOCK.next_open_ms(tuesday) == local("America/New_York", 2024, 6, 9, 20)


def test_a_market_that_never_opens_has_no_next_opening() -> None:
    dead = TradingHours.parse(
        "0930-1600:2", "Etc/UTC", [(date(2024, 1, 1) + timedelta(n)).strftime("%Y%m%d") for n in range(366)]
    )
    assert dead.next_open_ms(ms(2024, 6, 1)) is None
