"""Bars of an interval out of finer ones, by the sessions of the market. Pure; used by `derived`."""

import numpy as np
from numpy.typing import NDArray

from infrastructure.bars import Bars
from infrastructure.intervals import Interval
from infrastructure.tradingview.hours import TradingHours
from marketdata.services.session_grid import bar_opens

MOST_DECIMALS = 8


def is_multiple(interval: Interval, finer: Interval) -> bool:
    """Whether bars of `interval` can be made of finer ones whatever the session: those of a day or longer need at most
    days, and weeks begin and end within months."""
    if finer.name in ("1w", "1M"):
        return False
    if not interval.intraday:
        return finer.length_ms < interval.length_ms
    return finer.length_ms < interval.length_ms and interval.length_ms % finer.length_ms == 0


def resampled(finer: Bars, hours: TradingHours, interval: Interval) -> Bars:
    """One bar for each that has at least one finer bar; the first and the last one may lack some of theirs. The volume
    is the exact sum of decimal numbers; NaN only where there is none at all."""
    opens = bar_opens(finer.time_ms, hours, interval)
    if not len(opens):
        return finer
    first = np.flatnonzero(np.concatenate(([True], opens[1:] != opens[:-1])))
    last = np.append(first[1:], len(opens)) - 1
    return Bars(
        opens[first],
        finer.open[first],
        np.maximum.reduceat(finer.high, first),
        np.minimum.reduceat(finer.low, first),
        finer.close[last],
        _sums(finer.volume, first),
    )


def _sums(volume: NDArray[np.float64], first: NDArray[np.intp]) -> NDArray[np.float64]:
    unknown = np.isnan(volume)
    known = np.where(unknown, 0.0, volume)
    sums = _exact_sums(known, first)
    sums[np.logical_and.reduceat(unknown, first)] = np.nan
    return sums


def _exact_sums(known: NDArray[np.float64], first: NDArray[np.intp]) -> NDArray[np.float64]:
    """In whole multiples of the last decimal place, so that no rounding adds up; plain where there is no such place."""
    for decimals in range(MOST_DECIMALS + 1):
        scale = 10.0**decimals
        whole = np.rint(known * scale)
        if np.abs(whole).sum() >= 2**53:
            break
        if (whole / scale == known).all():
            return np.asarray(np.add.reduceat(whole, first) / scale)
    return np.asarray(np.add.reduceat(known, first))
