"""One supervised streaming connection: a thread that connects, carries its part of the wish, and starts again.

Made by `websocket`. The only loop here that catches everything: whatever goes wrong with one connection, the platform
goes on, and the reason is logged and told.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable

from infrastructure.backoff import Backoff
from infrastructure.errors import InfrastructureError, Rejected, Unavailable
from infrastructure.tradingview.base import State, StreamEvent, SymbolRefused, Wanted
from infrastructure.tradingview.config import TradingViewConfig
from infrastructure.tradingview.line import Line, Tap, now_ms, unheard
from infrastructure.tradingview.session import TokenRefused
from infrastructure.tradingview.stream import Pair, Stream
from infrastructure.tradingview.tokens import Tokens

logger = logging.getLogger(__name__)

RECONNECT = Backoff(first_s=1, factor=1.6, ceiling_s=30, jitter=0.3)
#: A connection whose data flowed for so long was a good one: the next delay is the first again.
STEADY_MS = 30_000
#: After a refusal a person must act; until then it is tried now and then.
REFUSED_S = 300.0
TICK_S = 1.0
#: How long a changed wish may wait for a silent socket.
WAKE_S = 0.2
#: A connection without any text is dead, whatever the markets do: heartbeats come every 10 s (section 4).
DEAD_S = 45.0
LEFT_OUT = (
    "All connections carry as many series of bars as TRADINGVIEW_SYMBOLS_PER_CONNECTION allows; "
    "these follow when others are no longer wanted."
)


class GateShut(Exception):
    """Nothing may be sent now; carries the sentence that says why."""


class Silent(Unavailable):
    """There should have been data. The state stays `stale` until there are some, over whichever connection."""


class Link:
    """`emit` gets each event, `report` the state and its reason: from the link's own thread, until `join` returns."""

    def __init__(
        self,
        tokens: Tokens,
        gate: Callable[[], None],
        emit: Callable[[StreamEvent], None],
        report: Callable[[State, str], None],
        name: str,
        tap: Tap = unheard,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._gate = gate
        self._emit = emit
        self._report = report
        self._name = name
        self._tap = tap
        self._clock = clock
        self._wanted = Wanted()
        self._left_out: frozenset[Pair] = frozenset()
        self._told: frozenset[Pair] = frozenset()  # of what is left out
        self._refused: set[str | Pair] = set()
        self._quiet: dict[str, int] = {}
        self._stop = threading.Event()
        self._line: Line | None = None
        self._failures = 0  # since the last good connection
        self._is_renewed = False  # a token was refused and another one was got, since there were data
        self._state: tuple[State, str] = ("connecting", "")  # while there is no data
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def want(self, wanted: Wanted, left_out: frozenset[Pair] = frozenset()) -> None:
        """The thread, started by the first wish, follows within a moment. An empty wish closes the connection. What is
        left out by all connections is told by one."""
        self._wanted = wanted
        self._left_out = left_out
        if self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """Returns at once."""
        self._stop.set()
        if line := self._line:
            line.abort()

    def join(self, timeout_s: float | None = None) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                rest_s = self._once()
            except Exception:  # a bug, ours or the sink's: the stream must not end with it
                logger.exception("%s failed", self._name)
                rest_s = self._backoff_s()
            self._rest(rest_s)

    def _once(self) -> float:
        """One connection from its beginning to its end; the seconds to rest after it."""
        if self._wanted.is_empty:
            self._state = ("connecting", "")
            self._report("stopped", "Nothing is wanted.")
            return WAKE_S
        config: TradingViewConfig | None = None
        try:
            self._ask_gate()
            self._report(*self._state)
            config = self._tokens.config()
            self._carry(config)
            return 0
        except GateShut as shut:
            self._state = ("connecting", "")
            self._report("stopped", str(shut))
            return TICK_S
        except InfrastructureError as error:
            if self._stop.is_set():
                return 0
            logger.warning("%s: %s", self._name, error)
            self._tap("-", str(error))
            if config and isinstance(error, Silent | Rejected):
                error = self._without_token(config, error)
            self._state = (_state_after(error), str(error))
            self._report(*self._state)
            return self._pause_s(error)

    def _without_token(self, config: TradingViewConfig, error: InfrastructureError) -> InfrastructureError:
        """Gives up the token. That it was refused concerns a person only if another one is refused as well."""
        is_renewable = self._tokens.give_up(config)
        if not isinstance(error, TokenRefused) or not is_renewable or self._is_renewed:
            return error
        self._is_renewed = True
        return Unavailable(str(error))

    def _carry(self, config: TradingViewConfig) -> None:
        """Until the end, or nothing is wanted. Raises what ended the connection."""
        line = self._line = Line.open(config, self._tap)
        try:
            self._converse(line, config)
        finally:
            self._line = None
            line.close()

    def _converse(self, line: Line, config: TradingViewConfig) -> None:
        answer_ms, silence_ms = int(config.timeout_s * 1000), int(config.silence_s * 1000)
        stream = Stream(
            line.session, self._refused, random.random, quiet=self._quiet, answer_ms=answer_ms, silence_ms=silence_ms
        )
        since_ms, heard_s = now_ms(), self._clock()
        next_tick_s = heard_s + TICK_S
        carried: Wanted | None = None
        live = False
        while not self._stop.is_set():
            wanted = self._wanted
            if wanted is not carried:
                if wanted.is_empty:
                    return
                stream.want(wanted, now_ms())
                carried = wanted
            text = line.receive(WAKE_S)
            now_s = self._clock()
            if text is not None:
                heard_s = now_s
                self._give(stream.receive(text, now_ms()))
            elif now_s - heard_s >= DEAD_S:
                raise Unavailable(f"TradingView said nothing for {DEAD_S:g} s.")
            self._tell_left_out()
            if not live and stream.first_data_ms is not None:
                live, self._is_renewed = True, False
                self._report("live", "")
            if now_s >= next_tick_s:
                next_tick_s = now_s + TICK_S
                self._tick(stream, since_ms)

    def _tick(self, stream: Stream, since_ms: int) -> None:
        self._ask_gate()
        now = now_ms()
        self._give(stream.tick(now))
        if stream.is_silent(now, since_ms):
            stream.note_silence(now)
            raise Silent(stream.silence(now))
        if stream.first_data_ms is not None:
            silence = stream.silence(now)  # of markets for which a new connection was no help
            self._report(*(("stale", silence) if silence else ("live", "")))
        if stream.first_data_ms is not None and (stream.last_data_ms or 0) - stream.first_data_ms >= STEADY_MS:
            self._failures = 0

    def _give(self, events: Iterable[StreamEvent]) -> None:
        for event in events:
            self._emit(event)

    def _ask_gate(self) -> None:
        try:
            self._gate()
        except InfrastructureError as error:
            raise GateShut(str(error)) from error

    def _pause_s(self, error: InfrastructureError) -> float:
        backoff_s = self._backoff_s()
        if isinstance(error, Rejected):
            return REFUSED_S
        wait_s = error.retry_after_s if isinstance(error, Unavailable) else None
        return max(backoff_s, min(wait_s or 0, REFUSED_S))

    def _backoff_s(self) -> float:
        delay_s = RECONNECT.delay_s(self._failures, random.random)
        self._failures += 1
        return delay_s

    def _rest(self, seconds: float) -> None:
        """Ends early at `stop`, and when the gate shuts or nothing is wanted any more, so that the state says so."""
        until_s = self._clock() + seconds
        while (left_s := until_s - self._clock()) > 0 and not self._stop.wait(min(left_s, TICK_S)):
            self._tell_left_out()
            try:
                self._ask_gate()
            except GateShut:
                return
            if self._wanted.is_empty:
                return

    def _tell_left_out(self) -> None:
        """Once each, for as long as they are."""
        told, self._told = self._told, self._left_out
        for symbol, interval in sorted(self._told - told, key=str):
            self._emit(SymbolRefused(symbol, LEFT_OUT, interval))


def _state_after(error: InfrastructureError) -> State:
    if isinstance(error, Rejected):
        return "refused"
    return "stale" if isinstance(error, Silent) else "reconnecting"
