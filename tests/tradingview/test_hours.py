import json
import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure.errors import Malformed
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS, Interval
from infrastructure.tradingview.hours import CACHE_DATES, Span, TradingHours

NEW_YORK = TradingHours.parse(
    "0930-1600", "America/New_York", ["20241128", "20241225"], "0930-1300:20241129,20241224;dayoff:20250109"
)
CRYPTO = TradingHours.parse("24x7", "Etc/UTC")
FUTURE = TradingHours.parse("1700-1600", "America/Chicago")
LUNCH = TradingHours.parse("0930-1130,1300-1500", "Asia/Shanghai")
KOLKATA = TradingHours.parse("0915-1530", "Asia/Kolkata")
LONDON = TradingHours.parse("0800-1630", "Europe/London")
MOSCOW = TradingHours.parse(
    "1900F3-2350F3,1000-1845:2|1900F1-2350F1,1000-1845:3456",
    "Europe/Moscow",
    ["20181112"],
    "1900F4-2350F4,1000-1845:20181113;1000-1400:20181116",
)
AROUND_THE_CLOCK = TradingHours.parse("2000-2000", "America/New_York")
EVERY = {
    "New York": NEW_YORK,
    "crypto": CRYPTO,
    "future": FUTURE,
    "lunch": LUNCH,
    "Kolkata": KOLKATA,
    "London": LONDON,
    "Moscow": MOSCOW,
    "around the clock": AROUND_THE_CLOCK,
    "local midnight": TradingHours.parse("24x7", "America/Havana"),
    "week from Sunday": TradingHours.parse("1;1000-1500:12345", "Asia/Riyadh"),
    "skipped hour": TradingHours.parse("0000-0215,0245-0300,0330-0930:1234567", "America/New_York"),
}


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1000


def local(zone: str, *moment: int) -> int:
    return int(datetime(*moment, tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def on(hours: TradingHours, *day: int) -> list[tuple[int, int]]:
    return [(span.open_ms, span.close_ms) for span in hours.spans_on(date(*day))]


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, pattern
    return match[1]


# --- Dates ----------------------------------------------------------------------------------------------------------


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


# --- Open and closed ------------------------------------------------------------------------------------------------


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


# --- Bars -----------------------------------------------------------------------------------------------------------


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


# --- Properties -----------------------------------------------------------------------------------------------------

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


# --- What arrives ---------------------------------------------------------------------------------------------------


RUBBISH = [
    "",
    "x",
    "0930",
    "0930-",
    "09:30-16:00",
    "0930-1600:",
    "0930-1600:8",
    "0930-1600:0",
    "2500-2600",
    "0960-1600",
    "9:30-16",
    "0930-1600,",
    "0930-1600;",
    ";",
    "8;0930-1600",
    "1;2;0930-1600",
    "0930-1200,1100-1600",
    "0930F1-0930F1",
    "1600F1-1500F1",
    "0000F9-2400",
    "24x7:1",
    "０９３０-1600",
]


@pytest.mark.parametrize("session", [*RUBBISH, "0930-1600|", "1600-1700:2|1659-1800:2", "1700F1-1800"])
def test_rubbish_is_malformed_and_kept(session: str) -> None:
    with pytest.raises(Malformed) as caught:
        TradingHours.parse(session, "Etc/UTC")
    assert caught.value.sample == session


@pytest.mark.parametrize(
    "parts",
    [
        {"timezone": "Mars/Olympus"},
        {"timezone": ""},
        {"timezone": "../etc/passwd"},
        {"timezone": "America"},
        {"holidays": ["2024-12-25"]},
        {"holidays": ["20241332"]},
        {"holidays": ["00010101"]},
        {"corrections": "0930-1300"},
        {"corrections": "0930-1300:"},
        {"corrections": "off:20241129"},
        {"corrections": "1700F1-1300:20241129;0930-1800:20241128"},  # overlap
    ],
)
def test_rubbish_around_the_session_is_malformed(parts: dict) -> None:
    with pytest.raises(Malformed):
        TradingHours.parse(**{"session": "0930-1600", "timezone": "Etc/UTC", **parts})


@settings(max_examples=300)
@given(st.text("0123456789-,:;|Fx dayof", max_size=30), st.text("0123456789-,:;Fdayof", max_size=40))
def test_any_text_is_read_or_malformed(session: str, corrections: str) -> None:
    try:
        hours = TradingHours.parse(session, "America/New_York", (), corrections)
    except Malformed:
        return
    spans = hours.spans(ms(2024, 3, 1), ms(2024, 4, 1))
    assert all(one.close_ms <= other.open_ms for one, other in pairwise(spans))


def test_session_texts_of_real_payloads_are_read(captures: Path) -> None:
    seen = set()
    for file in sorted(captures.iterdir()):
        text = file.read_text().replace('\\"', '"')
        for info in re.finditer(r'"session_holidays":"([\d,]*)".*?"timezone":"([^"]+)"', text):
            holidays, timezone = info[1].split(","), info[2]
            for part in json.loads(found(r'"subsessions":(\[.*?\])', info[0])):
                hours = TradingHours.parse(part["session"], timezone, holidays, part.get("session-correction", ""))
                seen.add((part["session"], timezone))
                assert hours.spans(ms(2023, 6, 5), ms(2023, 6, 6))
    assert seen == {
        (text, "America/New_York")
        for text in [
            "0400-0930",
            "0400-2000",
            "0900-0930",
            "0900-1615",
            "0930-1600",
            "0930-1610",
            "0930-1615",
            "1600-2000",
            "2000-0400",
            "2000-2000",
        ]
    }


def test_real_daily_bars_open_and_close_where_the_hours_say(captures: Path) -> None:
    text = json.loads((captures / "09-aapl-1D-five-bars-anonymous.json").read_text())[1]
    info = json.loads(found(r'~m~(\{"m":"symbol_resolved".*?\})~m~', text))["p"][2]
    regular = next(part for part in info["subsessions"] if part["id"] == "regular")
    hours = TradingHours.parse(
        info["session"], info["timezone"], info["session_holidays"].split(","), regular["session-correction"]
    )
    times = [int(float(t)) * 1000 for t in re.findall(r'"v":\[([\d.]+)', text)]
    assert hours.opens(times[0], times[-1] + 1, INTERVALS["1d"]).tolist() == times
    bar_close_time = int(found(r'"bar_close_time":(\d+)', text))
    assert hours.bar_close_ms(times[-1], INTERVALS["1d"]) == (bar_close_time + 1) * 1000


def test_real_index_bars_are_those_expected(captures: Path) -> None:
    """368 daily bars of SP:SPX, with every holiday in between."""
    resolved = (captures / "14-symbol-resolved-indices.txt").read_text()
    info = next(
        json.loads(frame)["p"][2]
        for frame in re.split(r"~m~\d+~m~", resolved)
        if '"full_name":"SP:SPX"' in frame or '"pro_name":"SP:SPX"' in frame
    )
    hours = TradingHours.parse("0930-1600", info["timezone"], info["session_holidays"].split(","))
    bars = (captures / "15-spx-1D-timescale-series-timeframe-completed.txt").read_text()
    times = [int(float(t)) * 1000 for t in re.findall(r'"v":\[([\d.]+)', bars)]
    assert hours.opens(times[0], times[-1] + 1, INTERVALS["1d"]).tolist() == times


def test_spans_are_values() -> None:
    assert CRYPTO.spans_on(date(2024, 6, 5)) == (Span(date(2024, 6, 5), ms(2024, 6, 5), ms(2024, 6, 6)),)
