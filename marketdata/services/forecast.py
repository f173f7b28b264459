"""What a backfill would ask its source for, without asking: ranges, bars, requests, time. Used by `manage.py backfill
--dry-run`. Bars are what trading hours expect; a source may have fewer."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infrastructure.errors import InfrastructureError
from infrastructure.intervals import DAY_MS
from infrastructure.persistence import BarStore, Series
from infrastructure.persistence.bar_documents import EARLIEST_MS, LATEST_MS
from infrastructure.ranges import Range
from infrastructure.tradingview.budget import RequestBudget
from infrastructure.tradingview.config import TradingViewConfig
from marketdata.models import BackfillJob
from marketdata.services.errands import Errand
from marketdata.services.planning import Ask

SLICE_MS = 200 * DAY_MS  # of expected bars in memory at a time
LONGEST_MS = 100 * 365 * DAY_MS  # looked back, where nothing says where the source begins
MOST = 2000  # stretches of one series
ANSWER_S = 0.3  # how long an answer takes where no pause is longer


@dataclass(frozen=True, slots=True)
class Stretch:
    """[start, end) in UTC milliseconds that would be asked for; `bars` are expected in it."""

    start_ms: int
    end_ms: int
    bars: int


@dataclass(slots=True)
class Forecast:
    """`known`: whether the platform knows the symbol's trading hours; else bars are counted as if it always traded."""

    job: BackfillJob
    known: bool
    stretches: list[Stretch] = field(default_factory=list)
    requests: int = 0

    @property
    def bars(self) -> int:
        return sum(stretch.bars for stretch in self.stretches)


def forecast(job: BackfillJob, bars: BarStore, now_ms: int) -> Forecast:
    """Nothing is asked, nothing is written."""
    errand = _Supposed(job, bars, now_ms)
    result = Forecast(job, errand.known)
    page_bars = TradingViewConfig.from_settings().page_bars
    while (ask := errand.next()) and len(result.stretches) < MOST:
        stretch = errand.suppose(ask)
        result.stretches.append(stretch)
        result.requests += max(-(-stretch.bars // page_bars), 1)
    return result


def seconds(requests: int, at_once: int) -> float:
    """How long so many requests take at least: at the pace of all processes as it is now."""
    try:
        slower = RequestBudget.from_settings().state(days=1).slower
    except InfrastructureError:  # without Redis each process keeps the pause by itself
        slower = 1
    return requests * max(TradingViewConfig.from_settings().pause_s * slower, ANSWER_S / at_once)


class _Supposed(Errand):
    """An errand whose every question is answered at once with what the trading hours expect."""

    def __init__(self, job: BackfillJob, bars: BarStore, now_ms: int) -> None:
        super().__init__(job, bars, now_ms)
        self._present_ms = now_ms if self._market.top_ms is None else self._market.top_ms
        self._answered: list[Stretch] = []

    @property
    def known(self) -> bool:
        return self._market.hours is not None

    def suppose(self, ask: Ask) -> Stretch:
        end_ms = self._present_ms if ask.end_ms is None else ask.end_ms
        low_ms = end_ms - LONGEST_MS if ask.start_ms is None else ask.start_ms
        stretch = self._back_from(end_ms, low_ms, ask.bars)
        self._answered.append(stretch)
        self._asked.append((ask.start_ms or EARLIEST_MS, ask.end_ms or LATEST_MS))
        return stretch

    def _back_from(self, end_ms: int, low_ms: int, most: int | None) -> Stretch:
        start_ms, left = end_ms, sys.maxsize if most is None else most
        wanted = left
        for low, high in _slices_back(low_ms, end_ms):
            opens = self._opens(low, high)[-left:]
            start_ms, left = (int(opens[0]) if len(opens) else start_ms), left - len(opens)
            if not left:
                break
        return Stretch(start_ms, end_ms, wanted - left)

    def _opens(self, start_ms: int, end_ms: int) -> NDArray[np.int64]:
        if self._market.hours is not None:
            return self._market.hours.opens(start_ms, end_ms, self.interval)
        length_ms = self.interval.length_ms
        return np.arange(-(-start_ms // length_ms) * length_ms, end_ms, length_ms, dtype=np.int64)

    def _stored(self, series: Series | None, start_ms: int, end_ms: int) -> int:
        supposed = sum(stretch.bars for stretch in self._answered if start_ms <= stretch.start_ms < end_ms)
        return super()._stored(series, start_ms, end_ms) + supposed


def _slices_back(start_ms: int, end_ms: int) -> Iterator[Range]:
    while end_ms > start_ms:
        yield max(start_ms, end_ms - SLICE_MS), end_ms
        end_ms -= SLICE_MS
