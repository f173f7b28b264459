"""The newest bar of a (symbol, interval): chart messages in → where they begin, forming and closed bars out. Pure; used
by `stream`."""

from __future__ import annotations

import logging

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import MINUTE_MS, Interval
from infrastructure.tradingview.base import BarUpdate, SeriesBegun
from infrastructure.tradingview.chart import Chart
from infrastructure.tradingview.messages import Parameters
from infrastructure.tradingview.payloads import ordered
from infrastructure.tradingview.session import Session

#: Asked for at every (re)connect, so that bars closed during a short interruption come again; who listens
#: sees from `SeriesBegun` whether that is enough.
RECENT_BARS = 10
#: So many bars missing between two, by the trading hours, and the series begins again: the connection lived, its data
#: did not. At most once in a while, as a symbol that is seldom traded has such gaps all day.
GAP_BARS = 5
GAP_EVERY_MS = 15 * MINUTE_MS
#: A bar that opens later than so from now is wrong: after it no other one would count as the newest.
AHEAD_MS = MINUTE_MS

logger = logging.getLogger(__name__)


class LiveSeries:
    """A closed bar may be given more than once (after a reconnect, or corrected); the last one given is right."""

    def __init__(self, session: Session, symbol: str, interval: Interval) -> None:
        self.chart = Chart(session, symbol, interval)
        self.answered = False
        self._recent: list[Bars] = []  # what came before the first completion, which tells the delay
        self._newest: Bar | None = None
        self._closed = False  # the newest bar was given as closed
        self._gap_ms: int | None = None  # when it began again because of a gap
        self._was_ahead = False  # a bar of the future has come

    def open(self) -> None:
        self.chart.open(RECENT_BARS)

    def receive(self, message: Parameters, now_ms: int) -> list[SeriesBegun | BarUpdate] | None:
        """None: it was no data of this series. Rejected or Unavailable where there will be none."""
        said = self.chart.receive(message)
        if said is None:
            return None
        if isinstance(said, Bars):
            self._recent.append(said)
        else:
            self.answered = True
        if not self.answered:
            return []
        bars = ordered(Bars.concat(self._recent))
        self._recent.clear()
        return self._follow(self._opened(bars, now_ms), now_ms)

    def tick(self, now_ms: int) -> list[BarUpdate]:
        """The newest bar as closed, once its time has passed without a successor."""
        if self._newest is None or self._closed or not self.chart.is_closed(self._newest.time_ms, now_ms):
            return []
        self._closed = True
        return [self._update(self._newest, True, now_ms)]

    def _opened(self, bars: Bars, now_ms: int) -> Bars:
        """Without those that cannot have opened yet."""
        opened = bars.between(None, self.chart.server_ms(now_ms) + AHEAD_MS)
        if len(opened) < len(bars) and not self._was_ahead:
            self._was_ahead = True
            logger.warning("%s %s: a bar of the future is left out", self.chart.symbol, self.chart.interval)
        return opened

    def _follow(self, bars: Bars, now_ms: int) -> list[SeriesBegun | BarUpdate]:
        updates: list[SeriesBegun | BarUpdate] = []
        begins = self._newest is None and len(bars) > 0
        if begins:
            updates.append(self._begun(int(bars.time_ms[0])))
        for bar in bars:
            if self._newest is None or bar.time_ms > self._newest.time_ms:
                if self._newest is not None and not self._closed:
                    updates.append(self._update(self._newest, True, now_ms))
                if not begins and self._is_gap(bar.time_ms, now_ms):
                    updates.append(self._begun(bar.time_ms))
                self._newest, self._closed = bar, False
            elif bar.time_ms == self._newest.time_ms:
                self._newest = bar
            else:  # a correction of an older one
                updates.append(self._update(bar, True, now_ms))
        if self._newest is not None and len(bars) and bars.time_ms[-1] == self._newest.time_ms:
            self._closed = self._closed or self.chart.is_closed(self._newest.time_ms, now_ms)
            updates.append(self._update(self._newest, self._closed, now_ms))
        return updates

    def _is_gap(self, time_ms: int, now_ms: int) -> bool:
        """Whether bars are missing before this one. Notes that it is told."""
        hours, interval = self.chart.hours, self.chart.interval
        if self._newest is None or hours is None or time_ms - self._newest.time_ms <= interval.length_ms:
            return False
        if self._gap_ms is not None and now_ms - self._gap_ms < GAP_EVERY_MS:
            return False
        if len(hours.opens(self._newest.time_ms + 1, time_ms, interval)) < GAP_BARS:
            return False
        self._gap_ms = now_ms
        return True

    def _begun(self, from_ms: int) -> SeriesBegun:
        return SeriesBegun(self.chart.symbol, self.chart.interval, from_ms)

    def _update(self, bar: Bar, closed: bool, now_ms: int) -> BarUpdate:
        chart = self.chart
        close_ms, server_ms = chart.close_ms(bar.time_ms), chart.server_ms(now_ms)
        return BarUpdate(chart.symbol, chart.interval, bar, closed, close_ms, now_ms, server_ms)
