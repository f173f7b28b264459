"""Between the stream and the bar writer: the closed bars of a series wait while what was missed before them is fetched
from the source's history, stored and said. So a series grows without a hole over a reconnect and a change of leader.

A thread of its own; `put` and `begun` only take a lock, and quotes and forming bars pass by. Bounds: holes of up to
LONGEST bars are filled, longer ones are left to the scheduled pulls and to backfills, as are those for which the source
has no answer (TRIES, or PATIENCE_S while it answers nobody); the leader pauses the bars of the stream while too many
are `waiting`. What waits at the end is dropped: the next leader finds the same hole, and a little more.
"""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from infrastructure.backoff import Backoff
from infrastructure.errors import InfrastructureError, Throttled, Unavailable
from infrastructure.persistence import BarStore, Series, mongodb_errors
from infrastructure.tradingview.base import BarUpdate, History, IDataProvider, SeriesBegun
from infrastructure.tradingview.budget import Busy
from infrastructure.tradingview.hours import TradingHours
from marketdata.live.in_order import InOrder, Pair
from marketdata.live.series import hours_of
from marketdata.models import Symbol
from marketdata.services import catching_up

LONGEST = 1000
TRIES = 8
PATIENCE_S = 120.0
RETRY = Backoff(first_s=0.5, factor=2, ceiling_s=10, jitter=0.2)

logger = logging.getLogger(__name__)


class NotFetched(Exception):
    """The source did not give its history: the store is well, others may be fetched. `again`: it may do so later."""

    def __init__(self, reason: str, *, again: bool) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(slots=True)
class _Begun:
    """A series has begun (again): its bars from `from_ms` on wait for those before them."""

    from_ms: int
    since: float
    bars: list[BarUpdate] = field(default_factory=list)
    tries: int = 0
    refused_at: float | None = None  # for the first time


class Holes:
    """`history` opens the source's history; None where it has none, then nothing is fetched. `lose` hears that bars are
    not going to be said for which somebody may wait."""

    def __init__(
        self,
        store: BarStore,
        history: Callable[[], IDataProvider] | None,
        write: Callable[[BarUpdate], None],
        say: InOrder,
        lose: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._store = store
        self._history = history
        self._write = write
        self._say = say
        self._lose = lose
        self._provider: IDataProvider | None = None  # open while there is something to fetch
        self._news = threading.Condition()
        self._begun: dict[Pair, deque[_Begun]] = {}  # one after another, where the stream broke off again
        self._passed: set[Pair] = set()  # of which the writer has got a bar
        self._kept: set[Pair] = set()  # streamed
        self._followed: set[Pair] = set()  # of those, with a beginning since they are: others have a hole before them
        self._refusals = 0  # of the source, in a row
        self._refused_since = 0.0  # when that row began
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="holes", daemon=True)

    @property
    def waiting(self) -> int:
        """Closed bars that wait."""
        with self._news:
            return sum(len(one.bars) for all_of_it in self._begun.values() for one in all_of_it)

    def start(self) -> None:
        self._thread.start()

    def close(self, deadline_s: float) -> None:
        with self._news:
            self._stopping.set()
            self._news.notify()
        self._thread.join(deadline_s)

    # --- on the provider's thread ---

    def begun(self, event: SeriesBegun) -> None:
        pair = (event.symbol, event.interval)
        with self._news:
            if pair in self._kept:
                self._begin(pair, event.from_ms)

    def put(self, update: BarUpdate) -> None:
        """A closed bar."""
        pair = (update.symbol, update.interval)
        with self._news:
            if pair not in self._kept:
                return
            if pair not in self._followed:  # it was let go and is streamed again, and the source knows of neither
                self._begin(pair, update.bar.time_ms)
            waits = self._begun.get(pair)
            if waits is None:
                self._pass([update])
            elif not self._stopping.is_set():
                waits[-1].bars.append(update)

    def _begin(self, pair: Pair, from_ms: int) -> None:
        self._followed.add(pair)
        self._begun.setdefault(pair, deque()).append(_Begun(from_ms, self._clock()))
        self._news.notify()

    # --- on the command's thread ---

    def keep(self, pairs: Collection[Pair]) -> None:
        """These are streamed, all others no longer: what comes of them all the same is dropped."""
        with self._news:
            self._kept = set(pairs)
            for pair in self._begun.keys() - self._kept:
                del self._begun[pair]
            self._passed &= self._kept
            self._followed &= self._kept

    # --- the thread ---

    def _run(self) -> None:
        failures = 0
        while (found := self._next()) is not None:
            pair, begun = found
            try:
                self._fill(pair, begun)
            except NotFetched as error:
                logger.warning("%s %s: a hole is not filled: %s", *pair, error)
                if error.again and self._is_patient(begun):
                    self._put_last(pair)
                    self._stopping.wait(RETRY.delay_s(self._refusals, random.random))
                    continue
                self._give_up(pair)
            except Unavailable as error:  # the store: closed bars wait for it anyway
                logger.debug("holes wait: %s", error)
                self._stopping.wait(RETRY.delay_s(failures, random.random))
                failures += 1
                continue
            except Exception:  # supervised: one series must not hold back its bars for ever
                logger.exception("%s %s: a hole is not filled", *pair)
                self._give_up(pair)
            failures = 0
            self._release(pair, begun)
        self._close_provider()

    def _next(self) -> tuple[Pair, _Begun] | None:
        """The series that has waited longest; None when it is time to stop."""
        with self._news:
            idle = not self._begun
        if idle:
            self._close_provider()
        with self._news:
            while not self._begun and not self._stopping.is_set():
                self._news.wait()
            if self._stopping.is_set():
                return None
            pair, begun = next(iter(self._begun.items()))
            return pair, begun[0]

    def _put_last(self, pair: Pair) -> None:
        """The others need not wait for what may concern this one alone."""
        with self._news:
            if pair in self._begun:
                self._begun[pair] = self._begun.pop(pair)

    def _fill(self, pair: Pair, begun: _Begun) -> None:
        from_ms = begun.from_ms
        series = self._store.find(*pair)
        if series is None or series.last_ms is None:
            if pair in self._passed:
                raise NotFetched("its first bars are not stored yet", again=True)
            return  # nothing was there before
        if series.rebased is not None:
            return  # all of it is being loaded anew
        known = _hours(pair[0])
        count = catching_up.missing(series.interval, known, series.last_ms, from_ms, LONGEST)
        if count > LONGEST:
            logger.warning("%s %s: about %d bars are missing: left to pulls and backfills", *pair, count)
            self._give_up(pair)
        elif count and self._history is not None:
            pages = self._fetched(begun, series, series.last_ms + 1, from_ms)
            new = catching_up.store(self._store, series, pages, series.last_ms + 1, from_ms)
            logger.info("%s %s: %d bars that were missed are stored", *pair, new)
        until_ms = self._say.until_ms(pair)
        self._say_stored(series, known, series.last_ms if until_ms is None else until_ms, from_ms)

    def _is_patient(self, begun: _Begun) -> bool:
        """However long it had to wait for others, the source may fail it, or everybody, for PATIENCE_S."""
        since = begun.refused_at
        if since is None:
            since = max(begun.since, self._refused_since)
        return begun.tries < TRIES and self._clock() - since < PATIENCE_S

    def _give_up(self, pair: Pair) -> None:
        if self._say.until_ms(pair) is not None:
            self._lose()

    def _fetched(self, begun: _Begun, series: Series, start_ms: int, end_ms: int) -> list[History]:
        assert self._history is not None  # noqa: S101  (asked by `_fill`)
        if self._refusals and not self._is_patient(begun):
            raise NotFetched("the source gives its history to nobody", again=False)
        try:
            if self._provider is None:
                self._provider = self._history()
            pages = catching_up.fetch(self._provider, series, start_ms, end_ms)
        except InfrastructureError as error:
            if not self._refusals:
                self._refused_since = self._clock()
            self._refusals += 1
            if begun.refused_at is None:
                begun.refused_at = self._clock()
            if not isinstance(error, Throttled | Busy):  # those ask for patience
                begun.tries += 1
            raise NotFetched(str(error), again=isinstance(error, Unavailable)) from error
        self._refusals = 0
        return pages

    def _say_stored(self, series: Series, known: TradingHours | None, after_ms: int, before_ms: int) -> None:
        """What lies between, stored by this feed or by others; nearly always nothing, which costs nothing. Of more than
        LONGEST the newest, and a word that bars were lost."""
        interval = series.interval
        if not catching_up.missing(interval, None, after_ms, before_ms, LONGEST):
            return
        bars = self._store.last(series, LONGEST + 1, before_ms).between(after_ms + 1, None)
        if len(bars) > LONGEST:
            self._lose()
        for bar in bars:
            close_ms = known.bar_close_ms(bar.time_ms, interval) if known else bar.time_ms + interval.length_ms
            self._say(BarUpdate(series.symbol, interval, bar, True, close_ms, time.time_ns() // 1_000_000))

    def _release(self, pair: Pair, begun: _Begun) -> None:
        """Unless it was let go while its hole was filled."""
        with self._news:
            waits = self._begun.get(pair)
            if waits and waits[0] is begun:
                waits.popleft()
                self._pass(begun.bars)
                if not waits:
                    del self._begun[pair]

    def _pass(self, bars: list[BarUpdate]) -> None:
        for update in bars:
            self._passed.add((update.symbol, update.interval))
            self._write(update)

    def _close_provider(self) -> None:
        provider, self._provider = self._provider, None
        if provider is not None:
            provider.close()


@mongodb_errors()
def _hours(key: str) -> TradingHours | None:
    symbol = Symbol.objects.filter(pk=key).first()
    return hours_of(symbol) if symbol else None
