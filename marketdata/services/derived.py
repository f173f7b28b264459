"""Bars of an interval that is not stored, made of a finer stored series; and whether a stored one is what its finer one
makes. Used by the API, `manage.py checkbars` and a schedule."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Malformed
from infrastructure.intervals import Interval
from infrastructure.persistence import BarStore, Database, FindingStore, Found, Series, mongodb_errors
from infrastructure.persistence.bar_documents import EARLIEST_MS
from infrastructure.ranges import Ranges, united
from infrastructure.tradingview.hours import TradingHours
from marketdata.models import Symbol
from marketdata.services import coverage, hours
from marketdata.services.gaps import gaps
from marketdata.services.resampling import is_multiple, resampled
from marketdata.services.session_grid import bar_opens

logger = logging.getLogger(__name__)

PIECE_BARS = 100_000  # finer bars in memory at a time
MISMATCH = "mismatch"
DAILY_BARS = 100  # of a series, compared each day: milliseconds, so that hundreds of series take less than a task may


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored series, read as a derived one is."""

    bars: BarStore
    series: Series

    def iterate(self, start_ms: int | None = None, end_ms: int | None = None) -> Iterator[Bars]:
        return self.bars.iterate(self.series, start_ms, end_ms)

    def last(self, n: int, before_ms: int | None = None) -> Bars:
        return self.bars.last(self.series, n, before_ms)


@dataclass(frozen=True, slots=True)
class Derived:
    """A series that is made as it is read: of each bar all finer ones were asked for, from its open to its close."""

    bars: BarStore
    finer: Series
    interval: Interval
    market: TradingHours
    covered: Ranges

    def iterate(self, start_ms: int | None = None, end_ms: int | None = None) -> Iterator[Bars]:
        """Bars that open in [start, end), ascending, in pieces."""
        rest = Bars.empty()
        for part in self.bars.iterate(self.finer, None if start_ms is None else self._open(start_ms)):
            finer = Bars.concat([rest, part])
            made = resampled(finer, self.market, self.interval)
            edge = int(made.time_ms[-1])  # of a bar that may go on in the next part
            rest = finer.between(edge, None)
            yield self._whole(made[:-1].between(start_ms, end_ms))
            if end_ms is not None and edge >= end_ms:
                return
        yield self._whole(resampled(rest, self.market, self.interval).between(start_ms, end_ms))

    def last(self, n: int, before_ms: int | None = None) -> Bars:
        """The newest n bars, those that open before that time."""
        found: list[Bars] = []
        missing, end_ms = n, None if before_ms is None else self._close(before_ms - 1)
        while missing > 0:
            part = self.bars.last(self.finer, PIECE_BARS, end_ms)
            made = resampled(part, self.market, self.interval)
            more = len(part) == PIECE_BARS and len(made) > 1
            made = made[int(more) :]  # the first one may have begun before
            found.insert(0, self._whole(made.between(None, before_ms)))
            missing -= len(found[0])
            if not more:
                break
            end_ms = int(made.time_ms[0])
        return Bars.concat(found)[max(-missing, 0) :]

    def _whole(self, made: Bars) -> Bars:
        if not len(made):
            return made
        end_ms = self.market.bar_close_ms(int(made.time_ms[-1]), self.interval)
        kept = np.ones(len(made), np.bool_)
        for gap in gaps(self.covered, self.market, self.finer.interval, int(made.time_ms[0]), end_ms):
            first, last = self._opens(gap.start_ms, gap.end_ms - 1)
            kept &= (made.time_ms < first) | (made.time_ms > last)
        return made[kept]

    def _opens(self, *moments: int) -> NDArray[np.int64]:
        return bar_opens(np.array(moments, np.int64), self.market, self.interval)

    def _open(self, ms: int) -> int:
        return int(self._opens(ms)[0])

    def _close(self, ms: int) -> int:
        return max(self.market.bar_close_ms(self._open(ms), self.interval), ms + 1)


def derived(
    bars: BarStore, key: str, interval: Interval, adjustment: str = "splits", session: str = "regular"
) -> Derived | None:
    """From the coarsest stored series that makes the interval; None where there is none, or the hours are unknown."""
    return _derived(bars, bars.all_series(), (key, adjustment, session), interval)


@mongodb_errors()
def _derived(
    bars: BarStore, stored: Sequence[Series], name: tuple[str, str, str], interval: Interval
) -> Derived | None:
    alike = [one for one in stored if _name(one) == name]
    finer = [one for one in alike if is_multiple(interval, one.interval)]
    symbol = Symbol.objects.filter(pk=name[0]).first()
    market = None
    with suppress(Malformed):
        market = None if symbol is None else hours.of_symbol(symbol)
    if market is None or not finer:
        return None
    coarsest = max(finer, key=lambda one: one.interval.length_ms)
    known = coverage.store().of(coarsest)
    first_ms = known.ended_ms if known.ended == "end" else None
    nothing_before = () if first_ms is None else ((EARLIEST_MS, first_ms),)
    return Derived(bars, coarsest, interval, market, united([*nothing_before, *known.ranges]))


def _name(series: Series) -> tuple[str, str, str]:
    return series.symbol, series.adjustment, series.session


@dataclass(frozen=True, slots=True)
class Difference:
    """`stored` is None where only the finer series has the bar."""

    stored: Bar | None
    made: Bar


def check_all(
    bars: BarStore, n: int, wanted: Callable[[Series], bool] = lambda series: True
) -> Iterator[tuple[Series, Series, Difference]]:
    """Of each series that a finer one makes: itself, that one, and what differs among its newest n bars."""
    stored = bars.all_series()
    for series in filter(wanted, stored):
        if made := _derived(bars, stored, _name(series), series.interval):
            yield from ((series, made.finer, one) for one in check(bars, series, made, n))


def check_daily(bars: BarStore) -> int:
    """How many bars of the last while differ; each is a finding now."""
    return sum(1 for _ in check_all(bars, DAILY_BARS))


def check(bars: BarStore, series: Series, made: Derived, n: int) -> list[Difference]:
    """The newest n bars of a stored series that are not what its finer one makes. Each becomes a finding."""
    if series.first_ms is None or series.last_ms is None:
        return []
    expected = made.last(n, series.last_ms + 1).between(series.first_ms, None)
    if not len(expected):
        return []
    low, high = int(expected.time_ms[0]), int(expected.time_ms[-1]) + 1
    stored = {bar.time_ms: bar for bar in bars.read(series, low, high)}
    found = [Difference(stored.get(bar.time_ms), bar) for bar in expected if not _same(stored.get(bar.time_ms), bar)]
    if found:
        logger.warning("%s %s: %s bars differ from %s", series.symbol, series.interval, len(found), made.finer.interval)
    FindingStore(Database()).note([_finding(series, made.finer, one) for one in found])
    return found


def _same(stored: Bar | None, made: Bar) -> bool:
    if stored is None:
        return False
    return bool(np.array_equal(_values(stored), _values(made), equal_nan=True))


def _finding(series: Series, finer: Series, one: Difference) -> Found:
    bar, lacks = one.stored or one.made, "is not stored, but" if one.stored is None else "is not what"
    reason = f"it {lacks} its {finer.interval} bars make: {', '.join(f'{v!r}' for v in _values(one.made))}"
    return Found.of_bar(MISMATCH, series.symbol, series.interval.name, reason[:300], bar)


def _values(bar: Bar) -> tuple[float, ...]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume
