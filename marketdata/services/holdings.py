"""What the platform holds of its series, and what it knows to be missing. Used by `manage.py gaps` and `series`."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from infrastructure.errors import Malformed
from infrastructure.persistence import BarStore, Coverage, Series, mongodb_errors
from infrastructure.tradingview.hours import TradingHours
from marketdata.models import Symbol
from marketdata.services import coverage, hours, retention
from marketdata.services.gaps import Gap, gaps


@dataclass(frozen=True, slots=True)
class Holding:
    """`gaps` between `start_ms` and `end_ms`; None where the trading hours are unknown."""

    series: Series
    coverage: Coverage
    start_ms: int | None
    end_ms: int | None
    gaps: list[Gap] | None

    @property
    def missing(self) -> int:
        return sum(gap.bars for gap in self.gaps or ())


@mongodb_errors()
def holdings(
    bars: BarStore,
    symbols: Collection[str],
    intervals: Collection[str],
    now_ms: int,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> list[Holding]:
    """Of these symbols and intervals (empty: all). Looked at from the first bar, or the first moment that was asked
    for, to the newest bar that can have closed; or within the limits given. Before the source's end, and of what is not
    kept, nothing is missing.
    """
    chosen = [
        one
        for one in bars.all_series()
        if (not symbols or one.symbol in symbols) and (not intervals or one.interval.name in intervals)
    ]
    covered = coverage.store().all(chosen)
    known = {row.key: row for row in Symbol.objects.filter(pk__in=list({one.symbol for one in chosen}))}
    return [_holding(one, covered[one.id], known.get(one.symbol), now_ms, start_ms, end_ms) for one in chosen]


def _holding(
    series: Series, known: Coverage, symbol: Symbol | None, now_ms: int, start_ms: int | None, end_ms: int | None
) -> Holding:
    market = _hours(symbol)
    firsts = [ms for ms in (series.first_ms, *(low for low, _ in known.ranges[:1])) if ms is not None]
    start = min(firsts, default=None) if start_ms is None else start_ms
    kept_ms = None if symbol is None else retention.kept_from_ms(symbol, series.interval, now_ms)
    if start is not None:
        start = max(ms for ms in (start, known.ended_ms, kept_ms) if ms is not None)
    newest = None
    if market is not None and symbol is not None:
        newest = hours.newest_known_ms(market, series.interval, symbol.delay_s, now_ms)
    ends = [ms + 1 for ms in (newest, series.last_ms) if ms is not None]
    end = min((ms for ms in (end_ms, max(ends, default=None)) if ms is not None), default=None)
    if market is None or start is None or end is None:
        return Holding(series, known, start, end, None)
    return Holding(series, known, start, end, gaps(known.ranges, market, series.interval, start, max(start, end)))


def _hours(symbol: Symbol | None) -> TradingHours | None:
    with suppress(Malformed):
        return None if symbol is None else hours.of_symbol(symbol)
    return None
