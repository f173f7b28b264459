"""What an instrument trades at: minutes of a stretch of time and the trades inside one minute, as whole ticks and lots.

Pure and random access: every number is a hash of (seed, instrument, minute), so two ranges that overlap agree. A minute
opens where the fractal path stands and closes where the next minute begins; whole numbers make every sum exact.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.simulator import noise
from infrastructure.simulator.instrument import Instrument

OCTAVES = 20  # the coarsest lattice has a point a year; what is slower than that does not move
MINUTE = INTERVALS["1m"]

Row = tuple[int, int, int, int, int]  # open, high, low, close (ticks), volume (lots)


class Rows(NamedTuple):
    """Bars before they become numbers with a decimal point: ticks of the price, lots of the volume."""

    time_ms: NDArray[np.int64]
    open: NDArray[np.int64]
    high: NDArray[np.int64]
    low: NDArray[np.int64]
    close: NDArray[np.int64]
    volume: NDArray[np.int64]

    def at(self, index: int) -> Row:
        _, *row = (int(column[index]) for column in self)
        return tuple(row)  # type: ignore[return-value]

    def part(self, low: int, high: int) -> Rows:
        return Rows(*(column[low:high] for column in self))


def joined(parts: list[Rows]) -> Rows:
    return Rows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def aggregate(minutes: Rows, opens: NDArray[np.int64]) -> Rows:
    """Bars that open at `opens`, each made of the minutes from its open to the next one's; none where there is none."""
    if not len(minutes.time_ms):
        return minutes
    owner = np.searchsorted(opens, minutes.time_ms, side="right") - 1
    firsts = np.concatenate(([0], np.flatnonzero(np.diff(owner)) + 1))
    lasts = np.concatenate((firsts[1:] - 1, [len(owner) - 1]))
    return Rows(
        opens[owner[firsts]],
        minutes.open[firsts],
        np.maximum.reduceat(minutes.high, firsts),
        np.minimum.reduceat(minutes.low, firsts),
        minutes.close[lasts],
        np.add.reduceat(minutes.volume, firsts),
    )


def merged(first: Row | None, second: Row | None) -> Row | None:
    """One bar out of two neighbours."""
    if first is None or second is None:
        return first or second
    return first[0], max(first[1], second[1]), min(first[2], second[2]), second[3], first[4] + second[4]


@dataclass(frozen=True, slots=True)
class Trades:
    """The trades of one minute: ascending times, prices, and the high, low and volume of the minute so far."""

    time_ms: list[int]
    price: list[int]
    high: list[int]
    low: list[int]
    volume: list[int]

    def index(self, ms: int) -> int:
        """The last trade at or before `ms`; -1 before the first."""
        return bisect_right(self.time_ms, ms) - 1

    def row(self, index: int) -> Row | None:
        """The minute's bar as of that trade."""
        if index < 0:
            return None
        return self.price[0], self.high[index], self.low[index], self.price[index], self.volume[index]


NO_TRADES = Trades([], [], [], [], [])


class Prices:
    """One instrument under one seed."""

    def __init__(self, seed: int, instrument: Instrument) -> None:
        self.instrument = instrument
        self._path = [noise.key(seed, instrument.path or instrument.name, "path", octave) for octave in range(OCTAVES)]
        self._streams = {
            what: noise.key(seed, instrument.name, what)
            for what in ("high", "low", "volume", "traded", "time", "detour", "extremes", "book")
        }
        self._tick = instrument.minmov / instrument.pricescale
        self._anchor = math.log(instrument.price) - noise.fractal(self._path, _EPOCH, _EPOCH + 1, instrument.sigma)[0]

    def minutes(self, start_ms: int, end_ms: int) -> Rows:
        """The minutes with a trade that open in [start, end)."""
        item = self.instrument
        times = item.hours.opens(max(start_ms, item.first_ms), end_ms, MINUTE)
        if item.density < 1 and len(times):
            times = times[noise.at(self._streams["traded"], times // MINUTE_MS) < item.density]
        if not len(times):
            return Rows(times, times, times, times, times, times)
        indices = times // MINUTE_MS
        first, last = int(indices[0]), int(indices[-1])
        logs = noise.fractal(self._path, first, last + 1, item.sigma) + self._anchor
        ticks = np.maximum(np.rint(np.exp(logs) / self._tick), 2).astype(np.int64)
        opens, closes = ticks[indices - first], ticks[indices - first + 1]
        reach = opens * item.sigma
        highs = np.maximum(opens, closes) + (reach * self._drawn("high", indices) ** 2).astype(np.int64)
        lows = np.minimum(opens, closes) - (reach * self._drawn("low", indices) ** 2).astype(np.int64)
        weight = 0.3 + 2.8 * self._drawn("volume", indices) ** 3  # 1 on average, a few minutes three times that
        volumes = 1 + (weight * (item.volume * item.volume_scale)).astype(np.int64)
        return Rows(times, opens, highs, np.maximum(lows, 1), closes, volumes)

    def trades(self, minute_ms: int, row: Row) -> Trades:
        """The trades behind a minute's bar: they start at its open, touch its high and low, and end at its close."""
        count, minute = self.instrument.ticks, minute_ms // MINUTE_MS
        spread = [
            noise.uniform(self._streams[what], minute * count, (minute + 1) * count) for what in ("time", "detour")
        ]
        times = minute_ms + ((np.arange(count) + 0.9 * spread[0]) * (MINUTE_MS / count)).astype(np.int64)
        first, second = self._extremes(minute, count)
        top, bottom = (first, second) if row[3] < row[0] else (second, first)
        anchors = sorted([(0, row[0]), (top, row[1]), (bottom, row[2]), (count - 1, row[3])])
        line = np.interp(np.arange(count), [at for at, _ in anchors], [price for _, price in anchors])
        wander = (spread[1] - 0.5) * (row[1] - row[2]) * 0.4
        prices = np.clip(np.rint(line + wander), row[2], row[1]).astype(np.int64)
        for at, price in anchors:
            prices[at] = price
        volumes = -(-row[4] * np.arange(1, count + 1) // count)
        return Trades(
            times.tolist(),
            prices.tolist(),
            np.maximum.accumulate(prices).tolist(),
            np.minimum.accumulate(prices).tolist(),
            volumes.tolist(),
        )

    def book(self, ms: int) -> tuple[int, int, int, int]:
        """Ticks below the last price of the bid and above it of the ask; their sizes in lots. Changes each second."""
        second = ms // 1000
        below, above, bid, ask = noise.uniform(self._streams["book"], second * 4, second * 4 + 4).tolist()
        size = self.instrument.volume * self.instrument.volume_scale / self.instrument.ticks
        return 1 + int(below * 2), 1 + int(above * 2), 1 + int(bid * size), 1 + int(ask * size)

    def price(self, ticks: int) -> float:
        return ticks * self.instrument.minmov / self.instrument.pricescale

    def _drawn(self, what: str, indices: NDArray[np.int64]) -> NDArray[np.float64]:
        return noise.at(self._streams[what], indices)

    def _extremes(self, minute: int, count: int) -> tuple[int, int]:
        """Two different trades between the first and the last, ascending."""
        one, two = noise.uniform(self._streams["extremes"], minute * 2, minute * 2 + 2).tolist()
        first = 1 + int(one * (count - 3))
        return first, first + 1 + int(two * (count - 2 - first))


_EPOCH = 29_000_000  # a minute in 2025, in which an instrument trades at its catalogue price
