"""Which bars were never fetched: coverage against trading hours. Pure; used by `manage.py gaps`, `series` and the
planner of backfills."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from infrastructure.intervals import DAY_MS, Interval
from infrastructure.ranges import Range, minus
from infrastructure.tradingview.hours import TradingHours

SLICE_MS = 200 * DAY_MS  # of expected bars in memory at a time; 300,000 of them, at most


@dataclass(frozen=True, slots=True)
class Gap:
    """`bars` are expected by the trading hours from the open `start_ms` to the close `end_ms`, and nobody asked for
    them, or nobody answered."""

    start_ms: int
    end_ms: int
    bars: int


def gaps(covered: Iterable[Range], hours: TradingHours, interval: Interval, start_ms: int, end_ms: int) -> list[Gap]:
    """Of the bars that open in [start, end), ascending. Time without trading is no gap."""
    found = (_gap(part, hours, interval) for part in minus([(start_ms, end_ms)], covered))
    return [gap for gap in found if gap]


def _gap(part: Range, hours: TradingHours, interval: Interval) -> Gap | None:
    first = last = None
    bars = 0
    for low, high in _slices(part):
        opens = hours.opens(low, high, interval)
        if len(opens):
            first = int(opens[0]) if first is None else first
            last = int(opens[-1])
            bars += len(opens)
    if first is None or last is None:
        return None
    return Gap(first, hours.bar_close_ms(last, interval), bars)


def _slices(part: Range) -> Iterator[Range]:
    start, end = part
    while start < end:
        yield start, min(start + SLICE_MS, end)
        start += SLICE_MS
