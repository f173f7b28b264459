"""Which bars a chart should have and the platform lacks: neither stored, nor asked for in vain. Used by the API."""

from contextlib import suppress

import numpy as np

from infrastructure.bars import Bars
from infrastructure.errors import Malformed
from infrastructure.persistence import BarStore, Series, mongodb_errors
from infrastructure.tradingview.hours import TradingHours
from marketdata.models import Symbol
from marketdata.services import coverage, hours
from marketdata.services.gaps import Gap, gaps

STORING_MS = 60_000  # a bar that closed so lately may be on its way into the store


@mongodb_errors()
def missing_bars(bars: BarStore, series: Series, start_ms: int, end_ms: int, now_ms: int) -> list[Gap] | None:
    """Of those that open in [start, end), ascending; None where the trading hours are unknown.

    The feed stores bars of times that no run has asked for yet, so what is stored is no gap; nor is what lies before
    the source's end, or has not closed."""
    symbol = Symbol.objects.filter(pk=series.symbol).first()
    market = None
    with suppress(Malformed):
        market = None if symbol is None else hours.of_symbol(symbol)
    if symbol is None or market is None:
        return None
    known = coverage.store().of(series)
    newest_ms = hours.newest_known_ms(market, series.interval, symbol.delay_s, now_ms - STORING_MS)
    start = max(start_ms, start_ms if known.ended_ms is None else known.ended_ms)
    end = min(end_ms, end_ms if newest_ms is None else newest_ms + 1)
    unasked = gaps(known.ranges, market, series.interval, start, max(start, end))
    return [
        gap for part in unasked for gap in _without(bars.read(series, part.start_ms, part.end_ms), part, market, series)
    ]


def _without(stored: Bars, gap: Gap, market: TradingHours, series: Series) -> list[Gap]:
    """What is left of a gap: each run of expected bars that are not stored."""
    opens = market.opens(gap.start_ms, gap.end_ms, series.interval)
    missing = np.isin(opens, stored.time_ms, invert=True)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], missing, [False])).astype(np.int8)))
    return [
        Gap(int(opens[first]), market.bar_close_ms(int(opens[after - 1]), series.interval), int(after - first))
        for first, after in edges.reshape(-1, 2).tolist()
    ]
