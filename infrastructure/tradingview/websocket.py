"""TradingView as a stream: quotes, forming and closed bars of what is wanted, over supervised connections.

Made by `marketdata.providers.get_stream_provider` for the feed. Each connection is a `link` with a thread of its own;
here they become one stream: the wish is divided, their states are joined, one at a time calls the sink.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Self

from django.conf import settings
from django.utils.module_loading import import_string

from infrastructure.tradingview.assignment import Item, assigned, part
from infrastructure.tradingview.base import IStreamProvider, State, StreamEvent, StreamState, Wanted, worst
from infrastructure.tradingview.config import TradingViewConfig
from infrastructure.tradingview.line import Happening
from infrastructure.tradingview.link import Link
from infrastructure.tradingview.tokens import Tokens

#: How long `close` waits for the links: one may be connecting to a source that hangs.
CLOSE_S = 2.0

#: Hears what happens on the connection of that number, as a `line.Tap` does.
Listener = Callable[[int, Happening, str], None]


class TradingViewWebSocketProvider(IStreamProvider):
    """Nothing is queued here: a slow sink holds back the connection that calls it, and then the server."""

    def __init__(
        self,
        config: TradingViewConfig,
        gate: Callable[[], None] | None = None,
        listener: Listener = lambda number, happening, text: None,
    ) -> None:
        self.config = config
        self._gate = gate or (lambda: None)
        self._tokens = Tokens(config, self._gate)
        self._listener = listener
        self._wanted = Wanted()
        self._places: dict[Item, int] = {}
        self._links: dict[int, Link] = {}
        self._links_lock = threading.Lock()
        self._sink: Callable[[StreamEvent], None] | None = None
        self._sink_lock = threading.Lock()
        self._states: dict[int, tuple[State, str]] = {}  # of the links that carry something
        self._state: tuple[State, str] | None = None

    @classmethod
    def from_settings(cls, *listener: Listener) -> Self:
        return cls(TradingViewConfig.from_settings(), import_string(settings.MARKETDATA_UPSTREAM_GATE), *listener)

    def start(self, sink: Callable[[StreamEvent], None]) -> None:
        with self._links_lock:
            self._sink = sink
            self._divide()

    def want(self, wanted: Wanted) -> None:
        with self._links_lock:
            self._wanted = wanted
            if self._sink is not None:
                self._divide()

    def close(self) -> None:
        """Ends for good. A link that is still busy when the time is up ends by itself, and is heard no more."""
        until_s = time.monotonic() + CLOSE_S
        with self._links_lock:
            self._sink = None
            links = list(self._links.values())
        for link in links:
            link.stop()
        if self._sink_lock.acquire(timeout=CLOSE_S):  # whoever was calling the sink has returned
            self._sink_lock.release()
        for link in links:
            link.join(max(until_s - time.monotonic(), 0))
        self._tokens.close()

    def _divide(self) -> None:
        self._places = assigned(self._wanted, self._places, self.config.symbols_per_connection)
        left_out = self._wanted.bars - self._places.keys()
        for number in sorted({0, *self._places.values(), *self._links}):
            link = self._links.get(number)
            if link is None:
                report, tap = partial(self._report, number), partial(self._listener, number)
                name = f"tradingview-{number}"
                link = self._links[number] = Link(self._tokens, self._gate, self._emit, report, name, tap)
            # One of them tells what none carries.
            link.want(part(self._wanted, self._places, number), left_out if number == 0 else frozenset())

    def _emit(self, event: StreamEvent) -> None:
        with self._sink_lock:
            if sink := self._sink:
                sink(event)

    def _report(self, number: int, state: State, reason: str) -> None:
        with self._sink_lock:
            self._states[number] = (state, reason)
            carrying = {*self._places.values()} or {0}
            states = [said for n, said in self._states.items() if n in carrying]
            if not states:
                return
            said = worst(states)
            if said != self._state and (sink := self._sink):
                self._state = said
                sink(StreamState(*said))
