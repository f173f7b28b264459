"""A stream provider whose updates the test says, through the same port as the real one."""

import threading
from collections.abc import Callable
from typing import Any

from infrastructure.bars import Bar
from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.base import (
    BarUpdate,
    IStreamProvider,
    QuoteUpdate,
    StreamEvent,
    StreamState,
    SymbolRefused,
    Wanted,
)

MINUTE_MS = 60_000


class Source(IStreamProvider):
    """`started` and `wanted` may be awaited with a deadline."""

    def __init__(self) -> None:
        self.wanted = Wanted()
        self.closed = False
        self._sink: Callable[[StreamEvent], None] | None = None
        self._changed = threading.Condition()

    def start(self, sink: Callable[[StreamEvent], None]) -> None:
        with self._changed:
            self._sink = sink
            self._changed.notify_all()

    def want(self, wanted: Wanted) -> None:
        with self._changed:
            self.wanted = wanted
            self._changed.notify_all()

    def close(self) -> None:
        self.closed = True

    def wait_for(self, holds: Callable[["Source"], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self), 20)

    def say(self, event: StreamEvent) -> None:
        self.wait_for(lambda source: source._sink is not None)
        assert self._sink is not None
        self._sink(event)

    def quote(self, symbol: str, received_ms: int = 1, **changes: Any) -> None:
        self.say(QuoteUpdate(symbol, changes, received_ms))

    def bar(self, symbol: str, interval: str, minute: int, close: float, closed: bool = False) -> None:
        self.say(bar_update(symbol, interval, minute, close, closed))

    def refuse(self, symbol: str, reason: str) -> None:
        self.say(SymbolRefused(symbol, reason))

    def state(self, state: Any, reason: str = "") -> None:
        self.say(StreamState(state, reason))


def bar_update(symbol: str, interval: str, minute: int, close: float, closed: bool) -> BarUpdate:
    bar = Bar(minute * MINUTE_MS, 1.0, close, 1.0, close, 5.0)
    return BarUpdate(symbol, INTERVALS[interval], bar, closed, (minute + 1) * MINUTE_MS, minute * MINUTE_MS)
