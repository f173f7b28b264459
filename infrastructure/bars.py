"""OHLCV bars as columns: what providers return, the store keeps and readers get. Pure.

Times are int64 UTC milliseconds of the bar's open; prices and volume are IEEE doubles as the source sent them;
a volume of NaN means that the instrument has none (many indices).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Bar:
    time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Six columns of one length, strictly increasing in `time_ms` unless a producer says otherwise."""

    time_ms: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]

    @classmethod
    def empty(cls) -> Bars:
        return cls.from_rows(())

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[float]]) -> Bars:
        """Rows of (time_ms, open, high, low, close, volume)."""
        table = np.array(list(rows), dtype=np.float64).reshape(-1, 6)
        return cls(table[:, 0].astype(np.int64), *(np.ascontiguousarray(table[:, i]) for i in range(1, 6)))

    @classmethod
    def concat(cls, parts: Sequence[Bars]) -> Bars:
        if not parts:
            return cls.empty()
        return cls(*(np.concatenate(columns) for columns in zip(*(p.columns for p in parts), strict=True)))

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        return (self.time_ms, self.open, self.high, self.low, self.close, self.volume)

    def __len__(self) -> int:
        return len(self.time_ms)

    def __getitem__(self, part: slice | NDArray[Any]) -> Bars:
        return Bars(*(column[part] for column in self.columns))

    def __iter__(self) -> Iterator[Bar]:
        """Bar by bar, for the few at an edge (a live page, a test); history stays in columns."""
        for row in zip(*(column.tolist() for column in self.columns), strict=True):
            yield Bar(*row)

    def between(self, start_ms: int | None, end_ms: int | None) -> Bars:
        """Bars with start_ms <= time < end_ms; None leaves that side open."""
        low = 0 if start_ms is None else int(np.searchsorted(self.time_ms, start_ms))
        high = len(self) if end_ms is None else int(np.searchsorted(self.time_ms, end_ms))
        return self[low:high]

    def same_as(self, other: Bars) -> bool:
        """Equal times and values; a NaN equals any other, 0.0 equals -0.0."""
        return len(self) == len(other) and all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for a, b in zip(self.columns, other.columns, strict=True)
        )
