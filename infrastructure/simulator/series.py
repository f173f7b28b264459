"""One series of a chart session: what of it the client holds, the answers that bring more, and its live bar."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import Interval
from infrastructure.simulator import windows, wire
from infrastructure.simulator.instrument import Instrument
from infrastructure.simulator.tape import Live

if TYPE_CHECKING:
    from infrastructure.simulator.chart import ChartSession


class Series:
    """`first` … `last` are the indexes the client holds: those of the first answer start at 0, older ones go below."""

    def __init__(self, session: ChartSession, id: str, turn: str, item: Instrument, interval: Interval) -> None:
        self.session, self.id, self.turn, self.item, self.interval = session, id, turn, item, interval
        self.connection = session.connection
        self.first, self.last = 0, -1
        self.oldest_ms = self.newest_ms = 0
        self.floor: windows.Floor | None = None
        self._row = ""  # the newest bar as it was sent last

    @property
    def limits(self) -> windows.Limits:
        options = self.connection.options
        if self.connection.paid:
            return windows.Limits(options.paid_page, options.paid_depth)
        return windows.Limits(options.anonymous_page, options.anonymous_depth)

    async def load(self, request: windows.Request) -> windows.Window:
        return await asyncio.to_thread(self._load, request)

    def _load(self, request: windows.Request) -> windows.Window:
        market, now_ms, limits = self.connection.market, self.connection.clock.now_ms(), self.limits
        self.floor = self.floor or windows.floor(market, self.item, self.interval, limits, now_ms)
        return windows.window(market, self.item, self.interval, request, self.floor, limits.page, now_ms)

    async def older(self, count: int) -> Bars:
        return await asyncio.to_thread(self._older, count)

    def _older(self, count: int) -> Bars:
        assert self.floor is not None  # noqa: S101  (a series that shows has been loaded)
        page = min(count, self.limits.page) if self.interval.intraday else count
        bars = self.connection.market.last(self.item.name, self.interval, page, self.oldest_ms)
        return bars.between(self.floor.time_ms, None)

    def covers(self, bars: Bars) -> bool:
        if not len(bars):
            return True
        return (
            self.last >= self.first
            and self.oldest_ms <= int(bars.time_ms[0])
            and int(bars.time_ms[-1]) <= self.newest_ms
        )

    def show(self, window: windows.Window, request: windows.Request, *, known: bool) -> None:
        """The answer to create_series and modify_series, after `series_loading`."""
        bars = window.bars
        framed = bool(request.frame)
        if not known:
            bars = self._spoilt_range(bars, request)
            self.first, self.last = 0, len(bars) - 1
            if len(bars):
                self.oldest_ms, self.newest_ms = int(bars.time_ms[0]), int(bars.time_ms[-1])
        if framed:
            self._timeframe(self.first, self.last, request.frame, False)
        if not known and len(bars):
            self._data(bars, 0, 0)
        if framed:
            left = window.left if not known else self.first
            self._timeframe(left, self.last, request.frame, True)
        self._completed()
        if not known:
            self._follow(window)

    def prepend(self, older: Bars) -> None:
        """The answer to request_more_data: bars below the first index; at the end of history none."""
        if len(older):
            self.first -= len(older)
            self.oldest_ms = int(older.time_ms[0])
            fault = self._fault("overlap")
            if fault:
                again = self.connection.market.bars(
                    self.item.name, self.interval, int(older.time_ms[-1]) + 1, self.newest_ms
                )[: fault.value or 3]
                older = Bars.concat([older, again])
            self._data(older, self.first, -self.first)
        self._completed()

    def tick(self, live: Live) -> None:
        bar, row = live.bar(self.interval)
        if bar is None or bar.time_ms < self.newest_ms or row == self._row:
            return
        if bar.time_ms > self.newest_ms:
            self._finish_last(bar)
            self._open(bar)
        else:
            self._update(row, bar.time_ms)
        self._row = row

    def close(self) -> None:
        self.connection.tape.leave(self.item, self)

    def _follow(self, window: windows.Window) -> None:
        self.connection.tape.leave(self.item, self)
        self._row = ""
        if window.live and len(window.bars):
            newest = next(iter(window.bars[-1:]))
            self._row = wire.text(wire.row(newest, self.item.has_volume))
            self.connection.tape.follow(self.item, self)

    def _finish_last(self, following: Bar) -> None:
        """Before a new bar: the last state of the one before, and bars that came and went since."""
        market = self.connection.market
        missed = market.bars(self.item.name, self.interval, self.newest_ms, following.time_ms)
        for bar in missed:
            if bar.time_ms > self.newest_ms:
                self._open(bar)
                continue
            row = wire.text(wire.row(bar, self.item.has_volume))
            if row != self._row:
                self._update(row, bar.time_ms)

    def _open(self, bar: Bar) -> None:
        self.last += 1
        self.newest_ms = bar.time_ms
        values = [bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume]
        self._data(Bars.from_rows([values]), self.last, 0, switches=False)

    def _update(self, row: str, time_ms: int) -> None:
        close = wire.close_time(self.item, time_ms, self.interval)
        payload = (
            f'{{"m":"du","p":[{wire.text(self.session.id)},{{{wire.text(self.id)}:{{"s":[{{"i":{self.last},"v":{row}}}],'
            f'"ns":{{"d":"","indexes":"nochange"}},"t":{wire.text(self.turn)},"lbs":{{"bar_close_time":{close}}}}}}}]}}'
        )
        self.connection.send(wire.frame(payload), self.item.name)

    def _data(self, bars: Bars, first: int, zero: int, *, switches: bool = True) -> None:
        if self._fault("completed_without_data"):
            return
        times = bars.time_ms
        if self._fault("out_of_order"):
            bars = bars[np.arange(len(bars))[::-1]]
        body = {
            "node": wire.NODE,
            "s": wire.rows(bars, first, self.item.has_volume),
            "ns": {"d": "", "indexes": []},
            "t": self.turn,
            "lbs": {"bar_close_time": wire.close_time(self.item, int(times[-1]), self.interval)},
        }
        scale: dict[str, Any] = wire.timescale(self.item, self.interval, times, first, zero)
        if switches:
            scale["last_session_switches"] = {self.id: {"market": first + len(bars) - 1}}
        parameters = [self.session.id, {self.id: body}, scale]
        self.connection.send(wire.message("timescale_update", parameters, self._now()), self.item.name)

    def _timeframe(self, left: int, right: int, frame: str, accurate: bool) -> None:
        parameters = [self.session.id, self.id, self.turn, left, right, frame, accurate]
        self.connection.send(wire.message("series_timeframe", parameters), self.item.name)

    def _completed(self) -> None:
        info: dict[str, Any] = {"rt_update_period": 0 if self.connection.paid else 5}
        if self.floor and (self.last < self.first or self.oldest_ms <= self.floor.time_ms):
            info["data_completed"] = self.floor.reason
        parameters = [self.session.id, self.id, self.item.update_mode, self.turn, info]
        for _ in range(2 if self._fault("duplicate_completed") else 1):
            self.connection.send(wire.message("series_completed", parameters, self._now()), self.item.name)

    def _spoilt_range(self, bars: Bars, request: windows.Request) -> Bars:
        fault = self._fault("outside_range") if request.span_ms and len(bars) else None
        if not fault:
            return bars
        older = self.connection.market.last(self.item.name, self.interval, fault.value or 3, int(bars.time_ms[0]))
        return Bars.concat([older, bars])

    def _fault(self, mode: str) -> Any:
        return self.connection.faults.take(mode, self.item.name, self.connection.number)

    def _now(self) -> int:
        return self.connection.clock.now_ms()
