from datetime import UTC, datetime

import pytest

from infrastructure.intervals import INTERVALS
from infrastructure.ranges import Range
from infrastructure.times import to_ms
from infrastructure.tradingview.hours import TradingHours
from marketdata.services.planning import Ask, Market, Wish, next_ask


def at(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


HOUR = INTERVALS["1h"]
NEW_YORK = TradingHours.parse("0930-1600", "America/New_York")
TOP = at("2026-11-19T17:30") + 1  # Thursday; the bar of 17:30 has closed
MARKET = Market(HOUR, NEW_YORK, TOP)
WEEK = (at("2026-11-16"), at("2026-11-19T18:30"))


def held(start: int, end: int) -> int:
    """As if every expected bar were stored."""
    return len(NEW_YORK.opens(max(start, at("2026-01-01")), min(end, TOP), HOUR))


def ask(wish: Wish, covered: list[Range], floor: int | None = None, market: Market = MARKET) -> Ask | None:
    return next_ask(wish, market, covered, floor, held)


@pytest.mark.parametrize(
    ("wish", "covered", "floor", "expected"),
    [
        (Wish(bars=100), [], None, Ask(100, None, None)),
        (Wish(bars=25), [WEEK], None, None),  # 7 + 7 + 7 + 4 bars
        (Wish(bars=26), [WEEK], None, Ask(1, None, at("2026-11-16"))),
        (Wish(bars=26), [WEEK], at("2026-11-16"), None),  # the source has no more
        (Wish(bars=26), [WEEK], at("2026-11-09"), Ask(1, at("2026-11-09T14:30"), at("2026-11-13T21:00"))),
        (Wish(bars=10), [(WEEK[0], at("2026-11-19"))], None, Ask(10, at("2026-11-19T14:30"), None)),
        (
            Wish(bars=10),
            [(at("2026-11-16"), at("2026-11-18T16:30")), (at("2026-11-18T18:30"), WEEK[1])],
            None,
            Ask(3, at("2026-11-18T16:30"), at("2026-11-18T18:30")),
        ),
        (Wish(start_ms=at("2026-11-17"), end_ms=at("2026-11-18")), [WEEK], None, None),
        (Wish(start_ms=at("2026-11-17")), [WEEK], None, None),
        (Wish(start_ms=at("2026-11-14")), [WEEK], None, None),  # a weekend before it
        (Wish(start_ms=at("2026-11-13")), [WEEK], None, Ask(None, at("2026-11-13T14:30"), at("2026-11-13T21:00"))),
        (
            Wish(start_ms=at("2026-11-13")), [WEEK], at("2026-11-13T17:30"),
            Ask(None, at("2026-11-13T17:30"), at("2026-11-13T21:00")),
        ),
        (Wish(start_ms=at("2026-11-13")), [WEEK], at("2026-11-16T15:00"), None),
        (Wish(start_ms=at("2026-11-20"), end_ms=at("2026-12-01")), [WEEK], None, None),  # the future
        (Wish(start_ms=at("1990-01-01")), [WEEK], None, Ask(None, at("1990-01-01"), at("2026-11-16"))),
    ],
)  # fmt: skip
def test_only_the_newest_missing_stretch_is_asked_for(
    wish: Wish, covered: list[Range], floor: int | None, expected: Ask | None
) -> None:
    assert ask(wish, covered, floor) == expected


def test_where_nobody_knows_the_present_the_newest_bars_are_asked_for() -> None:
    unknown = Market(HOUR, NEW_YORK, None)
    assert ask(Wish(bars=5), [WEEK], market=unknown) == Ask(5, WEEK[1], None)
    assert ask(Wish(start_ms=WEEK[0], end_ms=at("2026-11-18")), [WEEK], market=unknown) is None


def test_without_trading_hours_every_uncovered_stretch_is_asked_for() -> None:
    blind = Market(HOUR, None, TOP)
    assert ask(Wish(start_ms=at("2026-11-14")), [WEEK], market=blind) == Ask(None, at("2026-11-14"), WEEK[0])
