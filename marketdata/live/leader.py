"""What the one leading feed process does: provider → closed bars to the store, everything else to the publisher.
What was missed during a break is fetched, stored and said before the closed bars after it (`holes.py`).

`hear` runs on the provider's thread and only hands over; `step` runs in the command's loop and does what may wait for a
store: what to stream, saving quotes, noting refusals.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from infrastructure.errors import InfrastructureError
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, QuoteStore, at_most
from infrastructure.persistence.live import LiveCache
from infrastructure.tradingview.base import (
    BarUpdate,
    IDataProvider,
    IStreamProvider,
    QuoteUpdate,
    SeriesBegun,
    StreamEvent,
    StreamState,
    SymbolRefused,
    Wanted,
)
from infrastructure.tradingview.hours import TradingHours
from marketdata.live.bar_writer import FULL, BarWriter
from marketdata.live.holes import Holes
from marketdata.live.in_order import InOrder, Pair
from marketdata.live.protocol import bar_topic, split_topic
from marketdata.live.publisher import Publisher
from marketdata.live.refusals import Refusals
from marketdata.live.series import SeriesOf
from marketdata.live.wanted import Streamable, all_closed, markets, streamable, wanted
from marketdata.services.feed_report import Feed

LOOK_EVERY_S = 2.0
SAVE_EVERY_S = 5.0
STORE_LIMIT_S = 2.0  # what a part of `step` may take in MongoDB
REDIS_LIMIT_S = 0.5  # and in Redis, without which nobody is heard anyway
STEP_S = 0.4  # after so long the other parts wait for the next call: the lease is renewed between
DRAIN_S = 2.0

logger = logging.getLogger(__name__)


class Leader:
    """One term of leadership. `may_speak`: False while another process may lead; `history`: opens the source's history,
    None where it has none. Errors of `step` are Unavailable."""

    def __init__(
        self,
        database: Database,
        cache: LiveCache,
        provider: IStreamProvider,
        fence: int,
        may_speak: Callable[[], bool],
        source: str,
        simulated: bool,
        history: Callable[[], IDataProvider] | None = None,
    ) -> None:
        self._cache = cache.hurried(REDIS_LIMIT_S)
        self._provider = provider
        self._fence = fence
        self._source = source
        self._simulated = simulated
        self._quotes = QuoteStore(database)
        store = BarStore(database)
        with at_most(STORE_LIMIT_S):
            self._quotes.claim(fence)
            stored = self._quotes.load()
        self._publisher = Publisher(cache, fence, self.report, may_speak, stored)
        said = _said_before(self._cache)
        if said is None:  # what the leader before stored and did not say, nobody is going to say
            self._publisher.lose()
        self._in_order = InOrder(self._publisher.bar, said or {})
        self._writer = BarWriter(store, SeriesOf(store), self._in_order, self._publisher.lose)
        self._holes = Holes(store, history, self._writer.put, self._in_order, self._publisher.lose)
        self._stream = StreamState("connecting", "")
        self._told = ("", "", 0)
        self._ended = False
        self._wanted = Wanted()
        self._symbols: dict[str, Streamable] = {}
        self._markets: set[TradingHours | None] = set()
        self._interest: set[str] = set()
        self._refusals = Refusals()
        #: What is due how often, and when it was done last.
        self._every = {self._look: LOOK_EVERY_S, self._save: SAVE_EVERY_S, self._note_refusals: 0.0}
        self._done_at = dict.fromkeys(self._every, float("-inf"))
        self._lock = threading.Lock()

    @property
    def replaced(self) -> bool:
        return self._publisher.replaced.is_set()

    @property
    def _is_full(self) -> bool:
        """Whether no more bars should be streamed for now."""
        return self._writer.full or self._holes.waiting >= FULL

    def start(self) -> None:
        self._publisher.start()
        self._writer.start()
        self._holes.start()
        try:
            self._look()  # before the start, so that the source is not first told that nothing is wanted
        finally:
            self._provider.start(self.hear)

    def lead_on(self, fence: int) -> None:
        """A new term without a break: everything is said again under the new number."""
        self._fence = fence
        self._publisher.lead_on(fence)

    def close(self) -> None:
        """Within a few seconds: no more updates, closed bars stored, quotes saved, and a last word to the browsers."""
        self._provider.close()
        self._holes.close(DRAIN_S)
        left = self._writer.close(DRAIN_S)
        if left:
            logger.error("%d closed bars could not be stored: the scheduled pulls will fetch them", left)
        self._ended = True
        self._publisher.close(DRAIN_S)
        try:
            self._save()
        except InfrastructureError as error:
            logger.warning("the last quotes were not saved: %s", error)

    # --- on the provider's thread ---

    def hear(self, event: StreamEvent) -> None:
        match event:
            case QuoteUpdate():
                self._refusals.streamed(event.symbol)
                self._publisher.quote(event)
            case SeriesBegun():
                self._refusals.streamed(event.symbol, event.interval)
                self._holes.begun(event)
            case BarUpdate(closed=True):
                self._holes.put(event)
            case BarUpdate():
                self._publisher.bar(event)
            case SymbolRefused():
                self._refusals.add(event)
            case StreamState():
                self._stream = event
                self._publisher.tell()

    # --- in the command's loop ---

    def step(self, now: float) -> None:
        """What is due, longest due first; `now` in seconds of the monotonic clock. Each part is tried even if another
        fails. With a slow store some wait for the next call: before it the lease is renewed."""
        began, failures = time.monotonic(), []
        for part in sorted(self._every, key=self._done_at.__getitem__):
            if now - self._done_at[part] < self._every[part]:
                continue
            self._done_at[part] = now
            try:
                part()
            except InfrastructureError as error:
                failures.append(error)
            if time.monotonic() - began > STEP_S:
                break
        if failures:
            raise failures[0]

    def _look(self) -> None:
        """Streams what is wanted now. What a store that is away knew last stays; its queue must not overflow."""
        try:
            self._interest = self._cache.interest()
        except InfrastructureError as error:  # the publisher says that Redis is away
            logger.debug("interest of browsers is not known: %s", error)
        try:
            with at_most(STORE_LIMIT_S):
                self._symbols = streamable()
        finally:
            self._follow()

    def _follow(self) -> None:
        wish = wanted(self._symbols, self._interest)
        self._markets = markets(self._symbols, wish)
        new = replace(wish, bars=frozenset()) if self._is_full else wish
        self._in_order.keep(wish.bars)
        self._holes.keep(new.bars)
        self._refusals.keep(wish)
        if new != self._wanted:
            added, gone = new.bars - self._wanted.bars, self._wanted.bars - new.bars
            self._wanted = new
            self._publisher.follow_bars(topics(added), topics(gone))
            self._provider.want(new)
            logger.info("streaming %d symbols and %d series of bars", len(new.quotes), len(new.bars))

    def _save(self) -> None:
        quotes = self._publisher.take_unsaved()
        try:
            with at_most(STORE_LIMIT_S):
                self._quotes.save(quotes, self._fence)
        except InfrastructureError:
            self._publisher.not_saved(quotes)
            raise

    def _note_refusals(self) -> None:
        self._refusals.note(STORE_LIMIT_S)

    # --- on the publisher's thread ---

    def report(self) -> Feed:
        """The feed's state in its own words."""
        now = now_ms()
        state, reason = self._state(now)
        with self._lock:
            if (state, reason) != self._told[:2]:
                self._told = (state, reason, now)
                logger.info("feed is %s%s", state, f": {reason}" if reason else "")
            since_ms = self._told[2]
        return Feed(
            state,
            reason,
            since_ms,
            now,
            self._source,
            self._simulated,
            self._fence,
            len(self._wanted.quotes),
            self._writer.waiting + self._holes.waiting,
        )

    def _state(self, now: int) -> tuple[str, str]:
        stream = self._stream
        if self._ended:
            return "absent", "The feed was stopped."
        if self._is_full:
            return stream.state, "Bars are paused: too many closed ones wait for the database."
        if stream.state == "live" and all_closed(self._markets, self._provider.clock_ms(now)):
            return "market_closed", "No streamed market is open."
        return stream.state, stream.reason


def topics(pairs: Iterable[Pair]) -> list[str]:
    return [bar_topic(symbol, interval.name) for symbol, interval in pairs]


def _said_before(cache: LiveCache) -> dict[Pair, int] | None:
    """The newest closed bars that leaders before this one have said: none where Redis was emptied, None while it is
    away."""
    try:
        logged = cache.logged_until()
    except InfrastructureError as error:  # the publisher says that Redis is away
        logger.debug("what was said before is not known: %s", error)
        return None
    found = {split_topic(topic): time_ms for topic, time_ms in logged.items()}
    return {(key, INTERVALS[name]): time_ms for (key, name), time_ms in found.items() if name in INTERVALS}


def now_ms() -> int:
    return time.time_ns() // 1_000_000
