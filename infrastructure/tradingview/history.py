"""One request for history over a chart session: messages in → pages out, newest first. Pure; driven by `provider`.

Asks for the newest bars, or for those before the end of a range, then pages back, and cuts to the range on this side.
What a server makes of a range is disputed, and its edges are not strict (section 8 of the protocol): an answer to one
counts only where it surely reaches the range's end. Else the newest bars are asked for after all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from infrastructure.bars import Bars
from infrastructure.errors import Malformed, Unavailable
from infrastructure.intervals import DAY_MS, Interval
from infrastructure.tradingview.base import History, SymbolInfo
from infrastructure.tradingview.chart import Chart
from infrastructure.tradingview.messages import Parameters
from infrastructure.tradingview.payloads import ordered
from infrastructure.tradingview.session import Session

#: An answer without older bars is believed the second time: completions are known to come twice, or without their bars.
TRIES = 2
#: Looked at for bars that trading hours expect between an answer and the end of a range.
NEAR_MS = 10 * DAY_MS


class HistoryRequest:
    """`ask`, then feed `receive` until it gives a page; again while `more_to_come`. `close` in the end.

    An answer may turn out to need asking again: then `waiting` is False though no page came. Pages may be empty.
    """

    def __init__(
        self,
        session: Session,
        symbol: str,
        interval: Interval,
        *,
        bars: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        page_bars: int,
    ) -> None:
        self.more_to_come = True
        self.waiting = False
        self.heard = False  # the server said something of it
        self.symbol = symbol
        self._session = session
        self._chart = Chart(session, symbol, interval)
        self._opened = False
        self._from_ms = end_ms  # opened there, at the end of the range; None: at the newest bar
        self._first_number = 0
        self._left = bars
        self._start_ms = start_ms
        self._end_ms = end_ms
        self._page_bars = page_bars
        self._parts: list[Bars] = []
        self._oldest_ms: int | None = None  # of all that came
        self._empty_answers = 0

    @property
    def info(self) -> SymbolInfo | None:
        """What the source says of the symbol, once it did."""
        info = self._chart.info
        return info and replace(info, update_mode=self._chart.update_mode)

    def concerns(self, message: Parameters) -> bool:
        return getattr(message, "session", None) == self._chart.name

    def ask(self, now_ms: int) -> None:
        if self._opened and self._oldest_ms is not None:
            self._chart.more(self._count(self._oldest_ms))
        else:
            if self._opened:  # the newest bars got lost: older ones are not what is wanted
                self._chart.close()
                self._chart = Chart(self._session, self.symbol, self._chart.interval)
            self._open(self._session.server_ms(now_ms))
        self._opened = self.waiting = True

    def _open(self, server_ms: int) -> None:
        length_ms = self._chart.interval.length_ms
        if self._from_ms is None or not 0 < self._from_ms < server_ms - length_ms:
            self._from_ms = None
            self._chart.open(self._count(server_ms))
            return
        count = self._count(self._from_ms)
        start_ms = max(self._from_ms - count * length_ms, 0)
        self._chart.open(count, f"r,{start_ms // 1000}:{(self._from_ms + length_ms) // 1000}")

    def close(self) -> None:
        self._chart.close()

    def receive(self, message: Parameters, now_ms: int) -> History | None:
        """A page, once an answer is complete. Rejected or Unavailable where there will be none."""
        self.heard = self.heard or self.concerns(message)
        said = self._chart.receive(message)
        if isinstance(said, Bars):
            self._parts.append(said)
        elif said is not None and self.waiting:
            self.waiting = False
            return self._page(said.ended, now_ms)
        return None

    def _count(self, newest_ms: int) -> int:
        """Bars to ask for down from there: a page, or fewer where the rest is surely less."""
        counts = [self._page_bars]
        if self._start_ms is not None:
            counts.append((newest_ms - self._start_ms) // self._chart.interval.length_ms + 2)
        if self._left is not None and (self._end_ms is None or newest_ms <= self._end_ms):
            counts.append(self._left + 1)
        return max(min(counts), 2)

    def _page(self, ended: Literal["", "end", "limit"], now_ms: int) -> History | None:
        bars = ordered(Bars.concat(self._parts)).between(None, self._oldest_ms)
        self._parts.clear()
        if self._from_ms is not None and self._oldest_ms is None:
            if not self._reaches(bars, self._from_ms):
                self._from_ms = None
                return None
            ended = ""  # perhaps only that the range has: the next answer will tell
        self._refuse_a_hole(len(bars))
        self._empty_answers = 0 if len(bars) else self._empty_answers + 1
        if self._empty_answers == TRIES:
            ended = ended or "end"
        elif self._empty_answers and not ended:
            return None
        forming = None
        if len(bars):
            first = self._oldest_ms is None
            self._oldest_ms = int(bars.time_ms[0])
            if first and not self._chart.is_closed(int(bars.time_ms[-1]), now_ms):
                forming = next(iter(bars[-1:].between(self._start_ms, self._end_ms)), None)
                bars = bars[:-1]
        bars = bars.between(self._start_ms, self._end_ms)
        if self._left is not None:
            bars = bars[max(len(bars) - self._left, 0) :]
            self._left -= len(bars)
        covered = self._start_ms is not None and self._oldest_ms is not None and self._oldest_ms <= self._start_ms
        self.more_to_come = not (ended or covered or self._left == 0)
        if self.info is None:
            raise Malformed(f"TradingView sent a history of {self.symbol} without saying what it is.")
        return History(self.info, self._chart.interval, bars, forming, ended, self._session.server_ms(now_ms))

    def _reaches(self, bars: Bars, end_ms: int) -> bool:
        """Whether the source surely has no bar between these and the end."""
        newest_ms = int(bars.time_ms[-1]) if len(bars) else None
        if newest_ms is None or newest_ms >= end_ms:
            return newest_ms is not None
        hours = self._chart.hours
        if hours is None or end_ms - newest_ms > NEAR_MS:
            return False
        return len(hours.opens(newest_ms + 1, end_ms, self._chart.interval)) == 0

    def _refuse_a_hole(self, older: int) -> None:
        """An empty answer may have been a lost page: then the numbers of the next one do not follow."""
        expected = self._first_number - older
        self._first_number = self._chart.first_number
        if self._empty_answers and self._oldest_ms is not None and self._first_number < expected:
            raise Unavailable(f"TradingView left out {expected - self._first_number} bars of {self.symbol}.")
