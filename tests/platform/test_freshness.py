from datetime import UTC, datetime

import pytest

from infrastructure.intervals import INTERVALS
from infrastructure.times import to_ms
from infrastructure.tradingview.hours import TradingHours
from marketdata.services.freshness import Freshness, of_bars, of_quote
from marketdata.services.hours import newest_closed_ms

NEW_YORK = TradingHours.parse("0930-1600", "America/New_York", ["20261126"])
ALWAYS = TradingHours.parse("24x7", "Etc/UTC")
MINUTE, HOUR, DAY = INTERVALS["1m"], INTERVALS["1h"], INTERVALS["1d"]


def at(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.parametrize(
    ("interval", "now", "newest"),
    [
        (MINUTE, "2026-11-19T18:00:30", "2026-11-19T17:59"),
        (MINUTE, "2026-11-19T21:00:00", "2026-11-19T20:59"),
        (MINUTE, "2026-11-22T12:00:00", "2026-11-20T20:59"),  # Sunday
        (HOUR, "2026-11-19T20:45:00", "2026-11-19T19:30"),
        (HOUR, "2026-11-19T21:00:00", "2026-11-19T20:30"),  # the short last bar
        (DAY, "2026-11-19T20:59:00", "2026-11-18T14:30"),
        (DAY, "2026-11-26T22:00:00", "2026-11-25T14:30"),  # a holiday
        (INTERVALS["1M"], "2026-11-19T18:00:00", "2026-10-01T13:30"),
    ],
)
def test_the_newest_closed_bar_follows_the_trading_hours(interval: object, now: str, newest: str) -> None:
    assert newest_closed_ms(NEW_YORK, interval, at(now)) == at(newest)  # type: ignore[arg-type]


def test_a_market_that_no_longer_trades_has_none() -> None:
    dead = TradingHours.parse("0930-1600", "America/New_York", [])
    assert newest_closed_ms(dead, MINUTE, at("1900-01-01T00:00")) is not None
    never = TradingHours.parse("0930-0931:7", "Etc/UTC", ["20261114", "20261121"])
    assert newest_closed_ms(never, MINUTE, at("2026-11-22T00:00")) == at("2026-11-07T09:30")


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        (None, "2026-11-19T18:00", Freshness.MISSING),
        ("2026-11-19T17:57", "2026-11-19T18:00", Freshness.FRESH),
        ("2026-11-19T17:54", "2026-11-19T18:00", Freshness.FRESH),
        ("2026-11-19T17:53", "2026-11-19T18:00", Freshness.STALE),
        ("2026-11-20T20:59", "2026-11-22T12:00", Freshness.FRESH),  # closed since Friday
        ("2026-11-20T20:50", "2026-11-22T12:00", Freshness.STALE),
        ("2026-11-18T20:59", "2026-11-19T14:33", Freshness.FRESH),  # only just open
    ],
)
def test_bars_are_stale_when_the_market_has_closed_more_since(last: str | None, now: str, expected: Freshness) -> None:
    assert of_bars(last and at(last), NEW_YORK, MINUTE, 0, at(now)) == expected  # type: ignore[arg-type]


def test_a_delay_is_no_staleness() -> None:
    last, now = at("2026-11-19T17:42"), at("2026-11-19T18:00")
    assert (of_bars(last, ALWAYS, MINUTE, 900, now), of_bars(last, ALWAYS, MINUTE, 0, now)) == ("fresh", "stale")


@pytest.mark.parametrize(
    ("updated", "now", "expected"),
    [
        (None, "2026-11-19T18:00", Freshness.MISSING),
        ("2026-11-19T17:55", "2026-11-19T18:00", Freshness.FRESH),
        ("2026-11-19T17:54", "2026-11-19T18:00", Freshness.STALE),
        ("2026-11-20T21:00", "2026-11-22T12:00", Freshness.FRESH),
        ("2026-11-20T20:58", "2026-11-23T14:32", Freshness.FRESH),  # open for four minutes in all
        ("2026-11-20T20:58", "2026-11-23T14:34", Freshness.STALE),
        ("2026-01-05T15:00", "2026-11-22T12:00", Freshness.STALE),
    ],
)
def test_a_quote_ages_while_its_market_is_open(updated: str | None, now: str, expected: Freshness) -> None:
    assert of_quote(updated and at(updated), NEW_YORK, at(now)) == expected  # type: ignore[arg-type]


def test_without_hours_only_time_and_absence_count() -> None:
    now = at("2026-11-19T18:00")
    assert of_bars(0, None, MINUTE, 0, now) == Freshness.FRESH
    assert (of_quote(now - 1000, None, now), of_quote(now - 400_000, None, now)) == ("fresh", "stale")
