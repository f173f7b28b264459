"""Which bars of a batch can be true. Pure; asked by `intake` before anything is stored, by the feed and by imports.

A bar that fails is set aside, the rest of its batch is kept. Zero and negative prices are prices (oil fell below zero).
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import MINUTE_MS, Interval
from infrastructure.persistence.bar_documents import EARLIEST_MS, LATEST_MS
from infrastructure.tradingview.hours import TradingHours
from marketdata.services.session_grid import spans_near

LONG_AGO = -(2**63)


class Fault(StrEnum):
    """In the order they are looked for: a bar is set aside for the first that it has."""

    YEARS = "its time lies outside the years 1000 to 8999"
    FUTURE = "it opens in the future"
    ORDER = "its time is not after that of the bar before it"
    PRICE = "a price is not a finite number"
    HIGH = "its high is below its open, low or close"
    LOW = "its low is above its open or close"
    VOLUME = "its volume is negative or infinite"
    GRID = "its time is not on the grid of its session"
    FORMING = "it has not closed yet"


@dataclass(frozen=True, slots=True)
class Checked:
    good: Bars
    bad: list[tuple[Bar, Fault]]


def check(
    bars: Bars,
    interval: Interval,
    hours: TradingHours | None,
    now_ms: int | None,
    after_ms: int = LONG_AGO,
    *,
    closed: bool = True,
) -> Checked:
    """`now_ms` by the source's clock; None where nobody knows it, then no bar is of the future. Without trading hours a
    time only has to be a whole minute. `after_ms`: the last bar of the batch before, where order matters between them.
    `closed`: whoever gives them knows that they are; else the trading hours tell.
    """
    faults = _faults(bars, interval, hours, now_ms, after_ms)
    if not closed and now_ms is not None:
        faults = {**faults, Fault.FORMING: _forming(bars.time_ms, interval, hours, now_ms)}
    wrong = np.logical_or.reduce(list(faults.values())) if len(bars) else np.zeros(0, np.bool_)
    if not wrong.any():
        return Checked(bars, [])
    first = [next(fault for fault, mask in faults.items() if mask[place]) for place in np.flatnonzero(wrong)]
    return Checked(bars[~wrong], list(zip(bars[wrong], first, strict=True)))


def _faults(
    bars: Bars, interval: Interval, hours: TradingHours | None, now_ms: int | None, after_ms: int
) -> dict[Fault, NDArray[np.bool_]]:
    times, o, h, low, c, v = bars.columns
    nobody = np.zeros(len(bars), np.bool_)
    years = (times < EARLIEST_MS) | (times >= LATEST_MS)
    future = nobody if now_ms is None else times > now_ms
    with np.errstate(invalid="ignore"):
        return {
            Fault.YEARS: years,
            Fault.FUTURE: future,
            Fault.ORDER: _out_of_order(times, years | future, after_ms),
            Fault.PRICE: ~(np.isfinite(o) & np.isfinite(h) & np.isfinite(low) & np.isfinite(c)),
            Fault.HIGH: (h < o) | (h < c) | (h < low),
            Fault.LOW: (low > o) | (low > c),
            Fault.VOLUME: (v < 0) | np.isinf(v),
            Fault.GRID: _off_grid(times, years | future, interval, hours),
        }


def _forming(
    times: NDArray[np.int64], interval: Interval, hours: TradingHours | None, now_ms: int
) -> NDArray[np.bool_]:
    """Asked of the few that may be: no bar is longer than twice its nominal length."""
    forming = (times > now_ms - 2 * interval.length_ms) & (times <= now_ms)
    for place in np.flatnonzero(forming):
        time = int(times[place])
        forming[place] = (hours.bar_close_ms(time, interval) if hours else time + interval.length_ms) > now_ms
    return forming


def _out_of_order(times: NDArray[np.int64], senseless: NDArray[np.bool_], after_ms: int) -> NDArray[np.bool_]:
    """Not after every bar before it; a time that makes no sense does not make those after it wrong."""
    known = np.where(senseless, LONG_AGO, times)
    before = np.maximum.accumulate(np.concatenate(([after_ms], known[:-1])))
    return (times <= before) & ~senseless


def _off_grid(
    times: NDArray[np.int64], senseless: NDArray[np.bool_], interval: Interval, hours: TradingHours | None
) -> NDArray[np.bool_]:
    """A time within the trading hours must be that of a bar's open: of days, weeks and months the open of some trading
    day (the first of a week may have been a holiday that the source does not list). Outside them, where the source
    knows better than its own session text, whole minutes are believed."""
    off = times % MINUTE_MS != 0
    if hours is None:
        return off
    opens, closes, starts_day = spans_near(times[~senseless], hours)
    if not len(opens):
        return off
    place = np.searchsorted(opens, times, "right") - 1
    inside = (place >= 0) & (times < closes[place])
    since = times - opens[place]
    on_grid = since % interval.length_ms == 0 if interval.intraday else (since == 0) & starts_day[place]
    return np.asarray(off | (inside & ~on_grid))
