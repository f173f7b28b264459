"""The bars between the newest stored one of a series and those that are streamed now: whether any are missing, from the
source's history, into the store. Used by the feed after each break of the stream."""

from infrastructure.intervals import Interval
from infrastructure.persistence import BarStore, Series
from infrastructure.tradingview.base import History, IDataProvider
from infrastructure.tradingview.budget import because
from infrastructure.tradingview.hours import TradingHours
from marketdata.services import coverage, hours, intake

MOST_CLOSED = 50  # times as long as its trading hours is what any market takes


def missing(interval: Interval, known: TradingHours | None, last_ms: int, from_ms: int, most: int) -> int:
    """How many bars the trading hours expect between the two, neither included; above `most` only that it is more."""
    by_the_clock = max((from_ms - last_ms - 1) // interval.length_ms, 0)
    if known is None or by_the_clock > most * MOST_CLOSED:
        return by_the_clock
    return hours.bars_between(known, interval, last_ms + 1, from_ms)


def fetch(provider: IDataProvider, series: Series, start_ms: int, end_ms: int) -> list[History]:
    """Newest page first."""
    with because("feed"):
        return list(provider.pages(series.symbol, series.interval, start_ms=start_ms, end_ms=end_ms))


def store(bars: BarStore, series: Series, pages: list[History], start_ms: int, end_ms: int) -> int:
    """In the order of time, so that an error leaves no hole behind the end; how many were new."""
    new = sum(bars.write(series, intake.accept(page, series.symbol)).new for page in reversed(pages))
    asked = coverage.Asked(series.interval, start_ms, end_ms)
    covered = [part for page in pages for part in asked.received(page)]
    coverage.store().add(series, [*covered, *asked.exhausted()])
    return new
