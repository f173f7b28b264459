"""From updates of the source to Redis, in blocks of a few milliseconds, each value encoded once.

A thread of its own; the other methods are called from any thread and only take a lock. While Redis is away everything
goes on being merged (`board.py` says what is kept); when it is back, and when it has forgotten (FLUSHALL, another
server), all that is known is written and published again.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from infrastructure.backoff import Backoff
from infrastructure.errors import InfrastructureError
from infrastructure.persistence.live import Heard, LiveCache
from infrastructure.tradingview.base import BarUpdate, Quote, QuoteUpdate
from marketdata.live import blocks, protocol
from marketdata.live.blocks import Line
from marketdata.live.board import Batch, Board
from marketdata.services.feed_report import Feed

GATHER_S = 0.004
REPORT_EVERY_S = 1.0
NOT_ALLOWED_S = 0.05
RETRY = Backoff(first_s=0.1, factor=2, ceiling_s=1, jitter=0.2)

logger = logging.getLogger(__name__)


class Publisher:
    """`report` gives the feed's state; `may_speak` is False while somebody else may have become the leader."""

    def __init__(
        self,
        cache: LiveCache,
        fence: int,
        report: Callable[[], Feed],
        may_speak: Callable[[], bool],
        stored: Mapping[str, tuple[Quote, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._fence = fence
        self._report = report
        self._may_speak = may_speak
        self._clock = clock
        self.replaced = threading.Event()  # a newer leader has spoken: this one must step down
        self._news = threading.Condition()
        self._board = Board(stored)
        self._anew = True
        self._urgent = False
        self._said: tuple[Any, ...] = ()
        self._said_at = float("-inf")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    # --- for any thread ---

    def start(self) -> None:
        self._thread.start()

    def lead_on(self, fence: int) -> None:
        with self._news:
            self._fence = fence
            self._anew = True
            self._news.notify()

    def close(self, deadline_s: float) -> None:
        """Says what is left and the last state, if Redis takes it in time."""
        self._stopping.set()
        self.tell()
        self._thread.join(deadline_s)

    def quote(self, update: QuoteUpdate) -> None:
        with self._news:
            self._board.quote(update)
            self._news.notify()

    def bar(self, update: BarUpdate) -> None:
        """A forming bar, or a closed one that is stored."""
        with self._news:
            self._board.bar(update)
            self._news.notify()

    def follow_bars(self, new: Collection[str], gone: Collection[str]) -> None:
        """Which topics are streamed from now on, and which no longer."""
        with self._news:
            self._board.expect(new)
            self._board.forget(gone)
            self._news.notify()

    def lose(self) -> None:
        """Closed bars were missed: browsers are told that they have not recovered."""
        with self._news:
            self._board.lose()

    def tell(self) -> None:
        """The feed's state has changed: it is said without waiting for the next report."""
        with self._news:
            self._urgent = True
            self._news.notify()

    def take_unsaved(self) -> list[tuple[Quote, int]]:
        with self._news:
            return self._board.take_unsaved()

    def not_saved(self, quotes: Iterable[tuple[Quote, int]]) -> None:
        with self._news:
            self._board.not_saved(quotes)

    # --- the thread ---

    def _run(self) -> None:
        failures = 0
        while not (self._stopping.is_set() or self.replaced.is_set()):
            try:
                self._wait()
                self._speak()
                failures = 0
            except InfrastructureError as error:
                if not failures:
                    logger.warning("publishing waits: %s", error)
                self._anew = True
                self._stopping.wait(RETRY.delay_s(failures, random.random))
                failures += 1
            except Exception:  # supervised: one value that cannot be encoded must not end the feed
                logger.exception("a block was lost")
                self._stopping.wait(RETRY.ceiling_s)
        if not self.replaced.is_set():
            self._last_words()

    def _wait(self) -> None:
        """For news or the time of the next report; news wait a little for company."""
        with self._news:
            if not (self._anew or self._urgent or self._board.news):
                self._news.wait(REPORT_EVERY_S)
        if not self._stopping.is_set():
            time.sleep(GATHER_S)

    def _speak(self) -> None:
        if not self._may_speak():
            self._stopping.wait(NOT_ALLOWED_S)
            return
        fence, anew, batch = self._take()
        feed = self._due_report()
        if not (batch.lines or batch.closed or feed or anew):
            return
        lines = [*batch.lines, Line(blocks.STATE, b"", feed)] if feed else batch.lines
        heard = self._cache.speak(
            fence,
            blocks.pack(fence, lines),
            batch.quotes,
            batch.bars,
            feed,
            closed=batch.closed,
            gone_bars=batch.gone,
            anew=anew,
            log_anew=batch.lost,
        )
        if heard is Heard.REPLACED:
            logger.warning("a newer leader has spoken: this feed is silent")
            self.replaced.set()
            return
        with self._news:
            self._board.said()
            if fence == self._fence:
                self._anew = heard is Heard.AFRESH and not anew

    def _take(self) -> tuple[int, bool, Batch]:
        """The number to speak under, whether it is all there is, and what to say."""
        with self._news:
            self._urgent = False
            return self._fence, self._anew, self._board.take_all() if self._anew else self._board.take()

    def _due_report(self) -> bytes:
        """The state as JSON if it has changed or a report is due, else nothing."""
        feed, now = self._report(), self._clock()
        if feed.said() == self._said and now - self._said_at < REPORT_EVERY_S:
            return b""
        self._said, self._said_at = feed.said(), now
        return protocol.encode(feed).encode()

    def _last_words(self) -> None:
        try:
            self._speak()
        except InfrastructureError as error:
            logger.warning("the end was not published: %s", error)
