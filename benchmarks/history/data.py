"""The bars that every side is given: minutes of the simulated market, whose prices move in ticks."""

from functools import cache

import numpy as np

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.simulator.market import Market

MINUTE = INTERVALS["1m"]
UNTIL_MS = 1_790_000_040_000
COIN, SHARE, PRECIOUS = "BINANCE:SOLUSDT", "NASDAQ:AAPL", "BINANCE:BTCUSDT"


@cache
def market() -> Market:
    return Market(seed=1)


@cache
def minutes(symbol: str, count: int) -> Bars:
    """The newest of a moment that is always the same, as arrays of their own."""
    bars = market().last(symbol, MINUTE, count, UNTIL_MS)
    if len(bars) != count:
        raise ValueError(f"{symbol} has only {len(bars)} minutes.")
    return Bars(*(np.ascontiguousarray(column) for column in bars.columns))


def bars_per_week(symbol: str) -> float:
    return market().symbol(symbol).hours.bars_per_week(MINUTE)


def corrected(bars: Bars, share: float, seed: int) -> Bars:
    """That share of the bars, spread evenly by chance, each with another close and volume."""
    which = np.sort(np.random.default_rng(seed).choice(len(bars), int(len(bars) * share), replace=False))
    part = bars[which]
    close = np.round(part.close + 0.01 * (1 + seed), 2)
    return Bars(part.time_ms, part.open, np.maximum(part.high, close), part.low, close, part.volume + 1 + seed)


def merged(bars: Bars, changes: Bars) -> Bars:
    at = np.searchsorted(bars.time_ms, changes.time_ms)
    columns = [column.copy() for column in bars.columns]
    for column, change in zip(columns, changes.columns, strict=True):
        column[at] = change
    return Bars(*columns)


def days_before(end_ms: int, days: int) -> tuple[int, int]:
    return end_ms - days * 1440 * MINUTE_MS, end_ms
