"""Chart sessions: symbols resolved in them, series of bars loaded, paged back and kept moving."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np

from infrastructure.intervals import DAY_MS, Interval
from infrastructure.simulator import windows, wire
from infrastructure.simulator.facts import symbol_facts
from infrastructure.simulator.instrument import Instrument
from infrastructure.simulator.quotes import symbol_of
from infrastructure.simulator.series import Series

if TYPE_CHECKING:
    from infrastructure.simulator.connection import Connection

SECOND_SERIES = "exceed limit of series in the session"


class ChartSession:
    def __init__(self, connection: Connection, id: str) -> None:
        self.connection, self.id = connection, id
        self.items: dict[str, Instrument | None] = {}  # by resolve id; None = it did not resolve
        self.errors: dict[str, list[Any]] = {}
        self.series: dict[str, Series] = {}
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def resolve(self, id: str, spec: str) -> None:
        """Answered after a short pause, so that `series_loading` of a series asked for meanwhile comes first."""
        if id in self.items:
            self.connection.critical_error(self.id, "duplicate id", "resolve_symbol", [self.id, id, spec])
            return
        item = self.connection.market.find(symbol_of(spec))
        self.items[id] = item if item and not item.permission else None
        self.errors[id] = ["permission denied", "group", item.permission] if item else ["invalid symbol"]
        pause = self.connection.options.resolve_pause_s
        self._waiting[id] = asyncio.get_running_loop().call_later(pause, self._announce, id)

    def _announce(self, id: str) -> None:
        waiting = self._waiting.pop(id, None)
        if waiting is None:
            return
        waiting.cancel()
        item, now_ms = self.items[id], self.connection.clock.now_ms()
        if item is None:
            self.connection.send(wire.message("symbol_error", [self.id, id, *self.errors[id]], now_ms))
            return
        facts = symbol_facts(item, self.connection.paid)
        self.connection.send(wire.message("symbol_resolved", [self.id, id, facts], now_ms), item.name)

    async def create_series(
        self, id: str, turn: str, resolve_id: str, resolution: str, count: Any = windows.DEFAULT_BARS, frame: Any = ""
    ) -> None:
        arguments = [self.id, id, turn, resolve_id, resolution, count, frame]
        if id in self.series:
            self.connection.critical_error(self.id, "duplicate id", "create_series", arguments)
            return
        if self.series and not self.connection.paid:
            self.connection.critical_error(self.id, SECOND_SERIES, "create_series", arguments)
            return
        await self._start(id, turn, resolve_id, resolution, windows.Request.parse(count, frame))

    async def _start(self, id: str, turn: str, resolve_id: str, resolution: str, request: windows.Request) -> None:
        item = self.items[resolve_id]
        if resolve_id in self._waiting:
            self._waiting[resolve_id].cancel()  # announced below, however long the bars take
        await self.connection.pause()
        interval = windows.resolution(resolution, item, self.connection.paid) if item else "resolve error"
        if item is None or isinstance(interval, str):
            self._loading(id, turn, item)
            self._announce(resolve_id)
            about = item.name if item else None
            self.connection.send(
                wire.message("series_error", [self.id, id, turn, interval, wire.NODE], self._now()), about
            )
            return
        series = Series(self, id, turn, item, interval)
        self.series[id] = series
        window = await series.load(request)
        self._loading(id, turn, item)
        self._announce(resolve_id)
        series.show(window, request, known=False)

    async def modify_series(self, id: str, turn: str, resolve_id: str, resolution: str, frame: Any = "") -> None:
        """Bars that are loaded already are not sent again."""
        old, item = self.series[id], self.items[resolve_id]
        request = windows.Request.parse(windows.DEFAULT_BARS, frame)
        if (
            item is None
            or windows.resolution(resolution, item, self.connection.paid) != old.interval
            or item != old.item
        ):
            old.close()
            del self.series[id]
            await self._start(id, turn, resolve_id, resolution, request)
            return
        await self.connection.pause()
        old.turn = turn
        window = await old.load(request)
        self._loading(id, turn, item)
        self._announce(resolve_id)
        old.show(window, request, known=old.covers(window.bars))

    async def request_more_data(self, id: str, count: int) -> None:
        series = self.series[id]
        await self.connection.pause()
        older = await series.older(int(count))
        self._loading(id, series.turn, series.item)
        series.prepend(older)

    def request_more_tickmarks(self, id: str, count: int) -> None:
        """Times at which the next bars will open; no bars."""
        series = self.series[id]
        start_ms = series.newest_ms + 1
        reach_ms = (int(count) + 1) * series.interval.length_ms + 10 * DAY_MS
        times = series.item.hours.opens(start_ms, start_ms + reach_ms, series.interval)[: int(count)]
        scale = wire.timescale(series.item, series.interval, np.asarray(times), series.last + 1, 0)
        self.connection.send(wire.message("timescale_update", [self.id, {}, scale], self._now()), series.item.name)

    async def get_first_bar_time(self, symbol: str, resolution: str) -> None:
        item = self.items.get(symbol) or self.connection.market.find(symbol_of(symbol))
        interval = windows.resolution(resolution, item, True) if item else ""
        if item is None or not isinstance(interval, Interval):
            return
        first_ms = await asyncio.to_thread(self.connection.market.first_ms, item.name, interval)
        self.connection.send(wire.message("first_bar_time", [self.id, symbol, first_ms // 1000]), item.name)

    def create_study(self, id: str, turn: str, parent: str, *_: Any) -> None:
        """Accepted and left without data: no study is computed here."""
        joined = f"{self.series[parent].turn}_{turn}"
        for method in ("study_loading", "study_completed"):
            self.connection.send(wire.message(method, [self.id, id, joined], self._now()))

    def remove_series(self, id: str) -> None:
        self.series.pop(id).close()

    def close(self) -> None:
        for waiting in self._waiting.values():
            waiting.cancel()
        for series in self.series.values():
            series.close()
        self.series.clear()

    def _loading(self, id: str, turn: str, item: Instrument | None) -> None:
        about = item.name if item else None
        self.connection.send(wire.message("series_loading", [self.id, id, turn], self._now()), about)

    def _now(self) -> int:
        return self.connection.clock.now_ms()
