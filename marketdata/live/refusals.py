"""What the source will not stream: noted on the symbols, and taken back where it does after all. Used by the leader.

`add` and `streamed` run on the provider's thread and only remember; `note` asks the database. Bounds: what is wanted;
the newest WAITING wait for the database, older ones are dropped.
"""

import logging
import threading
from collections import deque

from infrastructure.intervals import Interval
from infrastructure.persistence import at_most
from infrastructure.tradingview.base import SymbolRefused, Wanted
from marketdata.models import Symbol

WAITING = 1000
NOT_STREAMED = "Not streamed: "

logger = logging.getLogger(__name__)


class Refusals:
    def __init__(self) -> None:
        self._refused: set[tuple[str, Interval | None]] = set()  # None: its quotes
        self._waiting: deque[SymbolRefused] = deque(maxlen=WAITING)  # without a reason: it is taken back
        self._lock = threading.Lock()

    def add(self, refusal: SymbolRefused) -> None:
        with self._lock:
            self._refused.add((refusal.symbol, refusal.interval))
            self._waiting.append(refusal)

    def streamed(self, symbol: str, interval: Interval | None = None) -> None:
        if self._refused:  # nearly never
            with self._lock:
                self._take_back(symbol, interval)

    def keep(self, wanted: Wanted) -> None:
        """Of what nobody wants any more, nothing is refused."""
        items = {*wanted.bars, *((symbol, None) for symbol in wanted.quotes)}
        with self._lock:
            for symbol, interval in self._refused - items:
                self._take_back(symbol, interval)

    def _take_back(self, symbol: str, interval: Interval | None) -> None:
        if (symbol, interval) in self._refused:
            self._refused.discard((symbol, interval))
            if symbol not in {other for other, _ in self._refused}:
                self._waiting.append(SymbolRefused(symbol, "", interval))

    def note(self, limit_s: float) -> None:
        """Many at a time, none twice; those that a slow store does not take wait."""
        with at_most(limit_s):
            while self._waiting:
                refusal = self._waiting.popleft()
                try:
                    _note(refusal)
                except Exception:
                    self._waiting.appendleft(refusal)
                    raise


def _note(refusal: SymbolRefused) -> None:
    noted = Symbol.objects.filter(pk=refusal.symbol)
    if refusal.reason:
        noted.update(error=f"{NOT_STREAMED}{refusal.reason}"[:300])
        logger.warning("%s: the source will not stream it: %s", refusal.symbol, refusal.reason)
    else:
        noted.filter(error__startswith=NOT_STREAMED).update(error="")
        logger.info("%s: it is no longer refused", refusal.symbol)
