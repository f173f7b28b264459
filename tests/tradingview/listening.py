"""The stream provider on a simulator, and all that it says."""

import threading
from collections.abc import Callable
from typing import Any

from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import TradingViewWebSocketProvider
from infrastructure.tradingview.base import QuoteUpdate, StreamEvent, StreamState, Wanted
from tests.tradingview.settings_for import config_for

DEADLINE_S = 30  # against a hang


class Sink:
    """What came, in order; `until` waits for it."""

    def __init__(self) -> None:
        self.events: list[StreamEvent] = []
        self.together = False  # it was called by two at a time
        self._news = threading.Condition()
        self._turn = threading.Lock()

    def __call__(self, event: StreamEvent) -> None:
        if not self._turn.acquire(blocking=False):
            self.together = True
            return
        with self._news:
            self.events.append(event)
            self._news.notify_all()
        self._turn.release()

    def until(self, found: Callable[[list[StreamEvent]], Any]) -> Any:
        with self._news:
            assert self._news.wait_for(lambda: found(self.events), DEADLINE_S), self.events[-20:]
            return found(self.events)

    def of(self, kind: type[Any], symbol: str = "") -> list[Any]:
        return [e for e in self.events if isinstance(e, kind) and (not symbol or getattr(e, "symbol", "") == symbol)]

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.of(StreamState)]

    def until_states(self, *states: str) -> None:
        self.until(lambda _: self.states == list(states))

    def until_quotes(self, *symbols: str) -> None:
        self.until(lambda _: all(self.of(QuoteUpdate, symbol) for symbol in symbols))


class Running:
    def __init__(self, server: SimulatorServer, wanted: Wanted, gate: Any = None, **changes: Any) -> None:
        self.sink = Sink()
        self.provider = TradingViewWebSocketProvider(config_for(server, **changes), gate)
        self.provider.want(wanted)

    def __enter__(self) -> Sink:
        self.provider.start(self.sink)
        return self.sink

    def __exit__(self, *_: object) -> None:
        self.provider.close()
