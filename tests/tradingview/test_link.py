"""A link whose clock runs faster than ours: when a connection on which nothing at all is said is given up."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview.base import State
from infrastructure.tradingview.line import Tap, unheard
from infrastructure.tradingview.link import DEAD_S, Link
from infrastructure.tradingview.tokens import Tokens
from tests.tradingview.friday import FRIDAY
from tests.tradingview.listening import DEADLINE_S, Sink
from tests.tradingview.settings_for import config_for
from tests.tradingview.wishes import quotes

SATURDAY = FRIDAY + 86_400_000
FASTER = 30  # a second of ours is half a minute of the link's
HEARTBEAT_S = 0.2


class Told:
    """The states of a link; `until` waits for one."""

    def __init__(self) -> None:
        self.all: list[tuple[State, str]] = []
        self._news = threading.Condition()

    def __call__(self, state: State, reason: str) -> None:
        with self._news:
            if (state, reason) not in self.all[-1:]:
                self.all.append((state, reason))
                self._news.notify_all()

    def until(self, state: State) -> str:
        with self._news:
            assert self._news.wait_for(lambda: self.all[-1:] and self.all[-1][0] == state, DEADLINE_S), self.all
            return self.all[-1][1]


@contextmanager
def linked(told: Told, tap: Tap = unheard) -> Iterator[SimulatorServer]:
    """Quotes of a market that is closed."""
    with SimulatorServer(clock=StandingClock(SATURDAY), heartbeat_s=HEARTBEAT_S) as server:
        tokens = Tokens(config_for(server), lambda: None)
        link = Link(tokens, lambda: None, Sink(), told, "link", tap, lambda: time.monotonic() * FASTER)
        link.want(quotes("NASDAQ:AAPL"))
        yield server
        link.stop()
        link.join()
        tokens.close()


def test_a_connection_on_which_nothing_is_said_is_dead_whatever_the_market_does() -> None:
    told = Told()
    with linked(told) as server:
        told.until("live")
        server.faults.set("silence")
        assert told.until("reconnecting") == f"TradingView said nothing for {DEAD_S:g} s."
        server.faults.clear()
        told.until("live")


def test_heartbeats_keep_the_connection_of_a_closed_market() -> None:
    told, heard = Told(), threading.Semaphore(0)
    with linked(told, lambda happening, text: heard.release() if happening == "<" else None):
        told.until("live")
        for _ in range(int(2 * DEAD_S / (HEARTBEAT_S * FASTER))):
            assert heard.acquire(timeout=DEADLINE_S)
        assert told.all == [("connecting", ""), ("live", "")]
