"""A recording as a stream: plays it once, at any speed, to whoever wants its symbols; then says that it has ended.

Made by `marketdata.providers.get_stream_provider` where `MARKETDATA_SOURCE` is `replay`, and by `runfeed --replay`.
Bounds: the newest state of each symbol and the last bars of each series are kept for those who want them later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Self

from infrastructure.errors import InfrastructureError
from infrastructure.replay.captures import read
from infrastructure.replay.config import ReplayConfig
from infrastructure.replay.playing import Player, moments
from infrastructure.tradingview.base import (
    BarUpdate,
    IStreamProvider,
    Quote,
    QuoteUpdate,
    SeriesBegun,
    State,
    StreamEvent,
    StreamState,
    SymbolRefused,
    Wanted,
)
from infrastructure.tradingview.live_series import RECENT_BARS
from infrastructure.tradingview.stream import Pair

logger = logging.getLogger(__name__)


class ReplayStreamProvider(IStreamProvider):
    """Times in its events are those of the recording. It begins when something is wanted for the first time, and
    waits for a sink that is slow. A symbol that the recording did not hold is refused at its end."""

    def __init__(self, config: ReplayConfig) -> None:
        self._config = config
        self._news = threading.Condition()
        self._wanted = self._followed = Wanted()
        self._stopped = False
        self._sink: Callable[[StreamEvent], None] = lambda event: None
        self._thread = threading.Thread(target=self._run, name="replay", daemon=True)
        self._quotes: dict[str, tuple[Quote, int]] = {}  # with the time of the last change
        self._bars: dict[Pair, dict[int, BarUpdate]] = {}  # by their times, the last few
        self._refused: dict[tuple[str, object], SymbolRefused] = {}
        self._told: tuple[State, str] | None = None
        self._at_ms: int | None = None
        self._over = False

    @classmethod
    def from_settings(cls) -> Self:
        return cls(ReplayConfig.from_settings())

    def start(self, sink: Callable[[StreamEvent], None]) -> None:
        self._sink = sink
        self._thread.start()

    def want(self, wanted: Wanted) -> None:
        with self._news:
            self._wanted = wanted
            self._news.notify()

    def close(self) -> None:
        with self._news:
            self._stopped = True
            self._news.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def clock_ms(self, now_ms: int) -> int:
        return now_ms if self._at_ms is None else self._at_ms

    # --- the thread ---

    def _run(self) -> None:
        """Supervised: nothing that a recording holds, and no bug of the sink, ends the process."""
        end: tuple[State, str] = ("stopped", f"The recording {self._config.path.name} has ended.")
        try:
            self._rest(("connecting", ""), until_wanted=True)
            self._play()
            self._over = True
        except InfrastructureError as error:
            logger.error("%s", error)
            end = ("refused", str(error))
        except Exception:
            logger.exception("the replay failed")
            end = ("stopped", "The replay failed; the log says why.")
        self._rest(end)

    def _play(self) -> None:
        player = Player()
        began_s = time.monotonic()
        first_s: float | None = None
        for moment in moments(read(self._config.path)):
            first_s = moment.at_s if first_s is None else first_s
            due_s = began_s + (moment.at_s - first_s) / self._config.speed
            self._rest(player.state, due_s)
            if self._stopped:
                return
            self._at_ms = moment.wall_ms
            for event in player.play(moment):
                self._keep(event)
                if self._is_wanted(event):
                    self._sink(event)
            self._say(player.state)

    def _rest(self, state: tuple[State, str], due_s: float = float("inf"), until_wanted: bool = False) -> None:
        """Until then, or `close`; says what is new of the state and follows the wish meanwhile."""
        while not self._stopped:
            self._say(state)
            self._follow()
            with self._news:
                if self._wanted is not self._followed:
                    continue
                left_s = due_s - time.monotonic()
                if left_s <= 0 or (until_wanted and not self._wanted.is_empty):
                    return
                self._news.wait(min(left_s, threading.TIMEOUT_MAX))

    def _say(self, state: tuple[State, str]) -> None:
        if self._wanted.is_empty:
            state = ("stopped", "Nothing is wanted.")
        elif state == ("live", ""):
            state = ("live", f"The recording {self._config.path.name} is played.")
        if state != self._told:
            self._told = state
            self._sink(StreamState(*state))

    def _follow(self) -> None:
        """Who wants something that is known gets it as it stands."""
        new, before = self._wanted, self._followed
        self._followed = new
        for symbol in sorted(new.quotes - before.quotes):
            if symbol in self._quotes:
                quote, at_ms = self._quotes[symbol]
                changes = {name: value for name, value in asdict(quote).items() if name != "symbol"}
                self._sink(QuoteUpdate(symbol, changes, at_ms))
        for pair in sorted(new.bars - before.bars, key=str):
            if kept := self._bars.get(pair):
                self._sink(SeriesBegun(*pair, min(kept)))
                for _, update in sorted(kept.items()):
                    self._sink(update)
        for refused in self._refused.values():
            if self._is_wanted(refused) and not _wants(before, refused):
                self._sink(refused)
        if self._over:
            self._refuse_the_rest()

    def _is_wanted(self, event: StreamEvent) -> bool:
        return _wants(self._followed, event)

    def _keep(self, event: StreamEvent) -> None:
        match event:
            case QuoteUpdate(symbol=symbol, changes=changes, received_ms=at_ms):
                self._quotes[symbol] = (self._quotes.get(symbol, (Quote(symbol), 0))[0].merged(changes), at_ms)
            case BarUpdate():
                kept = self._bars.setdefault((event.symbol, event.interval), {})
                kept[event.bar.time_ms] = event
                if len(kept) > RECENT_BARS:
                    del kept[min(kept)]
            case SymbolRefused():
                self._refused[event.symbol, event.interval] = event

    def _refuse_the_rest(self) -> None:
        """What is wanted and did not come up."""
        reason = f"The recording {self._config.path.name} does not hold it."
        quotes = {symbol: SymbolRefused(symbol, reason) for symbol in self._followed.quotes - self._quotes.keys()}
        bars = {pair: SymbolRefused(pair[0], reason, pair[1]) for pair in self._followed.bars - self._bars.keys()}
        for refused in (*quotes.values(), *bars.values()):
            if self._refused.setdefault((refused.symbol, refused.interval), refused) is refused:
                self._sink(refused)


def _wants(wanted: Wanted, event: StreamEvent) -> bool:
    match event:
        case QuoteUpdate(symbol=symbol) | SymbolRefused(symbol=symbol, interval=None):
            return symbol in wanted.quotes
        case BarUpdate() | SeriesBegun() | SymbolRefused():
            return (event.symbol, event.interval) in wanted.bars
    return True
