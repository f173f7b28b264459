"""What a wish for history still needs from the source: the newest stretch that nobody has received yet. Pure; asked by
the backfill before each request, so that what is there is never asked for again."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from infrastructure.intervals import DAY_MS, Interval
from infrastructure.persistence.bar_documents import EARLIEST_MS, LATEST_MS
from infrastructure.ranges import Range, minus
from infrastructure.tradingview.hours import TradingHours
from marketdata.services.gaps import gaps

SURELY_MS = 400 * DAY_MS  # no market that is asked for rests longer


@dataclass(frozen=True, slots=True)
class Wish:
    """The newest `bars`, or everything from `start_ms` on; `end_ms`, not included, where it ends before the present."""

    bars: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Arguments of `IDataProvider.pages`."""

    bars: int | None
    start_ms: int | None
    end_ms: int | None


@dataclass(frozen=True, slots=True)
class Market:
    """`top_ms`: bars that open before it have closed; None where nobody can tell without asking. `bottom_ms`: bars that
    open before it are not kept."""

    interval: Interval
    hours: TradingHours | None
    top_ms: int | None
    bottom_ms: int = EARLIEST_MS


def next_ask(
    wish: Wish,
    market: Market,
    covered: Iterable[Range],
    floor_ms: int | None,
    held: Callable[[int, int], int],
) -> Ask | None:
    """None: nothing is missing. `floor_ms`: the source has nothing before it. `held(start, end)` counts stored bars,
    for a wish for a number of them."""
    bottom = EARLIEST_MS if wish.start_ms is None else wish.start_ms
    present = LATEST_MS if market.top_ms is None else market.top_ms
    top = present if wish.end_ms is None else min(wish.end_ms, present)
    there = [*covered, (EARLIEST_MS, market.bottom_ms if floor_ms is None else max(floor_ms, market.bottom_ms))]
    left, upper = wish.bars, LATEST_MS if wish.end_ms is None else wish.end_ms
    for low, high in reversed(minus([(bottom, top)], there)):
        if left is not None:
            left -= held(high, upper)
            upper = low
            if left <= 0:
                return None
        found = _trading(low, high, market)
        if found:
            start_ms, end_ms = found
            return Ask(left, None if low == EARLIEST_MS else start_ms, None if high == present else end_ms)
    return None


def _trading(low: int, high: int, market: Market) -> Range | None:
    """The part that has trading hours in it; a long stretch has some for sure."""
    if market.hours is None or high - low > SURELY_MS:
        return low, high
    found = gaps((), market.hours, market.interval, low, high)
    return (found[0].start_ms, found[0].end_ms) if found else None
