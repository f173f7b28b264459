"""TradingView as a stream: quotes, forming and closed bars of what is wanted, over supervised connections.

Made by `marketdata.providers.get_stream_provider` for the feed. Each connection is a `link` with a thread of its own;
here they become one stream: the wish is divided, their states are joined, one at a time calls the sink.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Self

from django.conf import settings
from django.utils.module_loading import import_string

from infrastructure.tradingview.assignment import assigned, part
from infrastructure.tradingview.base import IStreamProvider, State, StreamEvent, StreamState, Wanted, worst
from infrastructure.tradingview.config import TradingViewConfig
from infrastructure.tradingview.line import Happening, now_ms
from infrastructure.tradingview.link import Link
from infrastructure.tradingview.tokens import Tokens

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
        self._places: dict[str, int] = {}
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
        """Ends for good."""
        with self._links_lock:
            self._sink = None
            links = list(self._links.values())
        for link in links:
            link.stop()
        for link in links:
            link.join()
        self._tokens.close()

    def _divide(self) -> None:
        self._places = assigned(self._wanted, self._places, self.config.symbols_per_connection)
        for number in sorted({0, *self._places.values(), *self._links}):
            link = self._links.get(number)
            if link is None:
                report, tap = partial(self._report, number), partial(self._listener, number)
                name = f"tradingview-{number}"
                link = self._links[number] = Link(self._tokens, self._gate, self._emit, report, name, tap)
            link.want(part(self._wanted, self._places, number))

    def _emit(self, event: StreamEvent) -> None:
        with self._sink_lock:
            if self._sink is not None:
                self._sink(event)

    def _report(self, number: int, state: State, reason: str) -> None:
        with self._sink_lock:
            self._states[number] = (state, reason)
            carrying = {*self._places.values()} or {0}
            states = [said for n, said in self._states.items() if n in carrying]
            if not states:
                return
            said = worst(states)
            if said != self._state and self._sink is not None:
                self._state = said
                self._sink(StreamState(*said, now_ms()))
