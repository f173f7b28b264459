"""Closed bars of the feed into the BarStore, then to the publisher: a bar is stored before a browser sees it closed.

A thread of its own; `put` only takes a lock. Bound and loss: `limit` bars wait for the store, newest state per bar.
Then `full` says so, and the leader streams no bars until half of them are stored: the source then sends the last ones
again, and the scheduled pulls fetch the rest. What arrives all the same is refused beyond twice the limit: `lose` hears
of it.
"""

import logging
import random
import threading
from collections.abc import Callable

from infrastructure.backoff import Backoff
from infrastructure.bars import Bar
from infrastructure.errors import Unavailable
from infrastructure.persistence import BarStore, Series
from infrastructure.tradingview.base import BarUpdate

FULL = 20_000
BATCH = 500
RETRY = Backoff(first_s=0.2, factor=2, ceiling_s=5, jitter=0.2)

logger = logging.getLogger(__name__)
Key = tuple[str, str, int]


class BarWriter:
    """`series_of` gives the series of a bar, or None where the platform does not know its symbol (any more)."""

    def __init__(
        self,
        store: BarStore,
        series_of: Callable[[BarUpdate], Series | None],
        stored: Callable[[BarUpdate], None],
        lose: Callable[[], None],
        limit: int = FULL,
    ) -> None:
        self._store = store
        self._lose = lose
        self._series_of = series_of
        self._stored = stored
        self._limit = limit
        self._news = threading.Condition()
        self._waiting: dict[Key, BarUpdate] = {}  # in order of arrival
        self._full = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bar-writer", daemon=True)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether no more bars should be streamed for now."""
        return self._full

    def start(self) -> None:
        self._thread.start()

    def close(self, deadline_s: float) -> int:
        """Stores what waits, if the store takes it in time. Returns how many bars did not make it."""
        self._stopping.set()
        with self._news:
            self._news.notify()
        self._thread.join(deadline_s)
        return self.waiting

    def put(self, update: BarUpdate) -> None:
        key = (update.symbol, update.interval.name, update.bar.time_ms)
        with self._news:
            if len(self._waiting) >= 2 * self._limit and key not in self._waiting:
                logger.error("%s %s: a closed bar is left to the scheduled pull", *key[:2])
                self._lose()
                return
            self._waiting[key] = update
            self._full = self._full or len(self._waiting) >= self._limit
            self._news.notify()

    def _run(self) -> None:
        failures = 0
        while True:
            batch = self._next()
            if not batch:
                return
            try:
                self._store_batch(batch)
                failures = 0
            except Unavailable as error:
                if self._stopping.is_set():
                    return
                if not failures:
                    logger.warning("%d closed bars wait: %s", self.waiting, error)
                self._stopping.wait(RETRY.delay_s(failures, random.random))
                failures += 1

    def _next(self) -> list[BarUpdate]:
        """The oldest bars that wait; none at all when it is time to stop."""
        with self._news:
            while not self._waiting and not self._stopping.is_set():
                self._news.wait()
            return [update for _, update in zip(range(BATCH), self._waiting.values(), strict=False)]

    def _store_batch(self, batch: list[BarUpdate]) -> None:
        """In one go; where the store refuses something, one by one, so that only the culprit is left out."""
        try:
            self._push(batch)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  supervised: nothing that one bar does may stop the others
            if len(batch) > 1:
                for update in batch:
                    self._store_batch([update])
            else:
                logger.error("%s %s: a bar cannot be stored: %s", batch[0].symbol, batch[0].interval, error)
                self._done(batch)

    def _push(self, batch: list[BarUpdate]) -> None:
        pairs: list[tuple[Series, Bar]] = []
        known: list[BarUpdate] = []
        for update in batch:
            series = self._series_of(update)
            if series is not None:
                pairs.append((series, update.bar))
                known.append(update)
        if pairs:
            self._store.push(pairs)
        for update in known:
            self._stored(update)
        self._done(batch)

    def _done(self, batch: list[BarUpdate]) -> None:
        with self._news:
            for update in batch:
                key = (update.symbol, update.interval.name, update.bar.time_ms)
                if self._waiting.get(key) is update:
                    del self._waiting[key]
            if len(self._waiting) <= self._limit // 2:
                self._full = False
