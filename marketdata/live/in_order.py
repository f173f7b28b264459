"""Closed bars on their way to the publisher: each once, and in the order of time within its series.

Called by the writer's thread and by what fills holes. After a reconnect the source repeats what was said already. A
correction of the newest closed bar is said again; one of an older bar is only stored, and the history shows it. Where
the values that were said are not known here, the newest bar is said again: the log takes each value once.
"""

import threading
from collections.abc import Callable, Collection, Mapping

from infrastructure.bars import Bar
from infrastructure.intervals import Interval
from infrastructure.tradingview.base import BarUpdate

Pair = tuple[str, Interval]
REMEMBERED = 20_000  # as many as the log of closed bars has entries


class InOrder:
    """`until` holds the open of the newest closed bar that a leader before this one has said. Bound: `keep`, and
    REMEMBERED others."""

    def __init__(self, say: Callable[[BarUpdate], None], until: Mapping[Pair, int]) -> None:
        self._say = say
        self._until: dict[Pair, tuple[int, Bar | None]] = {pair: (time_ms, None) for pair, time_ms in until.items()}
        self._lock = threading.Lock()

    def __call__(self, update: BarUpdate) -> None:
        """A closed bar that is stored."""
        pair, bar = (update.symbol, update.interval), update.bar
        with self._lock:
            time_ms, said = self._until.get(pair, (bar.time_ms - 1, None))
            if bar.time_ms > time_ms or (bar.time_ms == time_ms and (said is None or not _same(bar, said))):
                self._say(update)
            if bar.time_ms >= time_ms:
                self._until[pair] = (bar.time_ms, bar)

    def until_ms(self, pair: Pair) -> int | None:
        """Open of the newest closed bar that was said, None where none was."""
        found = self._until.get(pair)
        return found and found[0]

    def keep(self, pairs: Collection[Pair]) -> None:
        """Only these are streamed. Of others it is remembered how far they were said: whoever watches one again, and
        goes on with the log, must hear what was stored meanwhile."""
        with self._lock:
            others = self._until.keys() - pairs
            for pair in others:
                self._until[pair] = (self._until[pair][0], None)
            too_many = max(len(others) - REMEMBERED, 0)
            for pair in [pair for pair in self._until if pair in others][:too_many]:
                del self._until[pair]


def _same(one: Bar, other: Bar) -> bool:
    """A volume that is no number is the same as another."""
    return str(one) == str(other)
