"""Has the source multiplied its whole history by one factor, as after a split? Pure; asked by pulls about the bars that
were stored before and came again."""

import numpy as np

from infrastructure.bars import Bars

FEWEST = 2  # bars that must agree; one alone is a correction
FEWEST_BEFORE = 3  # the same, where newer ones are as they were received
MOST_PARTS = 100  # of a split; dividends make odder factors


def factor(stored: Bars, received: Bars, tick: float) -> float | None:
    """What the stored prices must be multiplied by to be the received ones; None where they are the same, or differ in
    other ways, as corrections do. Both sides are rounded to the tick, so each price tells the factor within limits:
    the simplest fraction that is within all of them is it.

    The newest stored bars may have the new prices already, where the feed has connected since: it stores the last few
    anew. Then those before them tell."""
    _, ours, theirs = np.intersect1d(stored.time_ms, received.time_ms, assume_unique=True, return_indices=True)
    old, new = _prices(stored, ours), _prices(received, theirs)
    rounding = 0.5 * tick + 1e-9 * np.maximum(np.abs(old), np.abs(new))
    if not (old > rounding).all() or not (new > rounding).all():
        return None
    low, high = ((new - rounding) / (old + rounding)).max(axis=0), ((new + rounding) / (old - rounding)).min(axis=0)
    changed = (low > 1) | (high < 1)
    count = int(changed.sum())
    if not changed[:count].all() or count < (FEWEST if count == len(changed) else FEWEST_BEFORE):
        return None
    within = float(low[:count].max()), float(high[:count].min())
    return _simplest(*within) if within[0] <= within[1] else None


def _simplest(low: float, high: float) -> float:
    middle = (low + high) / 2
    for parts in range(1, MOST_PARTS + 1):
        found = round(middle * parts) / parts
        if found > 0 and low <= found <= high:
            return found
    return middle


def rescaled(bars: Bars, prices: float, volumes: float) -> Bars:
    time_ms, o, h, low, c, v = bars.columns
    return Bars(time_ms, o * prices, h * prices, low * prices, c * prices, v * volumes)


def volume_factor(old: Bars, new: Bars) -> float:
    """The same for volumes, which splits change and dividends do not; 1 where they do not agree on one."""
    _, ours, theirs = np.intersect1d(old.time_ms, new.time_ms, assume_unique=True, return_indices=True)
    before, after = old.volume[ours], new.volume[theirs]
    traded = (before > 0) & (after > 0)
    if not traded.any():
        return 1.0
    ratios = after[traded] / before[traded]
    ratio = float(np.median(ratios))
    return ratio if (np.abs(ratios / ratio - 1) < 0.01).all() else 1.0


def _prices(bars: Bars, places: np.ndarray) -> np.ndarray:
    return np.stack([column[places] for column in (bars.open, bars.high, bars.low, bars.close)])
