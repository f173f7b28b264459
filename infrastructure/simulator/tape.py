"""What moves: follows instruments, and at each of their trades tells everybody who listens.

Each change is rendered once for all listeners that want the same; listeners put it behind their own prefix. Runs in the
server's loop. When the loop is late, trades in between are skipped: listeners get the newest state, as with the real
thing, and bars still show every high and low.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from typing import Any, Protocol

from infrastructure.bars import Bar
from infrastructure.intervals import Interval
from infrastructure.simulator import wire
from infrastructure.simulator.clock import Clock
from infrastructure.simulator.instrument import Instrument
from infrastructure.simulator.market import Market
from infrastructure.simulator.quote_fields import moving

logger = logging.getLogger(__name__)

SHORTEST_WAIT_S = 0.004
LONGEST_WAIT_S = 0.05  # a clock that a test moves is looked at so often


class Listener(Protocol):
    def tick(self, live: Live) -> None: ...


class Live:
    """The present state of one instrument, what its last trade changed, and both as rendered text."""

    def __init__(self, market: Market, item: Instrument, now_ms: int) -> None:
        self.market, self.item, self.now_ms = market, item, now_ms
        self.fields = moving(market.quote(item.name, now_ms))
        self.changes: dict[str, Any] = {}
        self.listeners: set[Listener] = set()
        self._texts: dict[frozenset[str] | None, str] = {}
        self._bars: dict[Interval, tuple[Bar | None, str]] = {}

    def step(self, now_ms: int) -> None:
        self.now_ms = now_ms
        fields = moving(self.market.quote(self.item.name, now_ms))
        self.changes = {name: value for name, value in fields.items() if self.fields.get(name) != value}
        self.fields = fields
        self._texts.clear()
        self._bars.clear()
        for listener in tuple(self.listeners):
            listener.tick(self)

    def changed(self, wanted: frozenset[str] | None) -> str:
        """JSON of what changed among the wanted fields; empty where nothing did."""
        found = self._texts.get(wanted)
        if found is None:
            part = {name: value for name, value in self.changes.items() if wanted is None or name in wanted}
            found = self._texts[wanted] = wire.text(part) if part else ""
        return found

    def bar(self, interval: Interval) -> tuple[Bar | None, str]:
        """The forming bar and its row as JSON."""
        found = self._bars.get(interval)
        if found is None:
            bar = self.market.forming(self.item.name, interval, self.now_ms)
            found = (bar, wire.text(wire.row(bar, self.item.has_volume)) if bar else "")
            self._bars[interval] = found
        return found


class Tape:
    def __init__(self, market: Market, clock: Clock) -> None:
        self._market, self._clock = market, clock
        self._lives: dict[str, Live] = {}
        self._due: list[tuple[int, str]] = []

    def live(self, item: Instrument) -> Live:
        """The state to start from; it moves only while somebody follows."""
        return self._lives.get(item.name) or Live(self._market, item, self._clock.now_ms())

    def follow(self, item: Instrument, listener: Listener) -> None:
        live = self._lives.get(item.name)
        if live is None:
            live = self._lives[item.name] = self.live(item)
            heapq.heappush(self._due, (self._market.next_change_ms(item.name, live.now_ms), item.name))
        live.listeners.add(listener)

    def leave(self, item: Instrument, listener: Listener) -> None:
        live = self._lives.get(item.name)
        if live is not None:
            live.listeners.discard(listener)

    async def run(self) -> None:
        while True:
            now_ms = self._clock.now_ms()
            while self._due and self._due[0][0] <= now_ms:
                self._step(heapq.heappop(self._due)[1], now_ms)
            wait_s = (
                (self._due[0][0] - self._clock.now_ms()) / 1000 / self._clock.speed if self._due else LONGEST_WAIT_S
            )
            await asyncio.sleep(min(max(wait_s, SHORTEST_WAIT_S), LONGEST_WAIT_S))

    def _step(self, name: str, now_ms: int) -> None:
        live = self._lives[name]
        if not live.listeners:
            del self._lives[name]
            return
        try:
            live.step(now_ms)
        except Exception:  # one instrument's mistake must not stop the others
            logger.exception("%s: a step of the tape failed", name)
        heapq.heappush(self._due, (self._market.next_change_ms(name, now_ms), name))
