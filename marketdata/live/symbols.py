"""The symbols that may be watched: keys of the Symbol collection, remembered by each web process for a while."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from collections.abc import Set as AbstractSet

from infrastructure.errors import InfrastructureError

REMEMBERED_S = 30.0
MISS_S = 2.0  # asked again earlier where somebody wants one that is not among them: it may be new

logger = logging.getLogger(__name__)


class KnownSymbols:
    """`load` asks the database and blocks; it runs in a thread, once at a time."""

    def __init__(self, load: Callable[[], Iterable[str]], clock: Callable[[], float]) -> None:
        self._load, self._clock = load, clock
        self._known: frozenset[str] | None = None
        self._at = float("-inf")
        self._lock = asyncio.Lock()

    async def among(self, wanted: Collection[str]) -> AbstractSet[str] | None:
        """All known symbols, fresh enough to judge `wanted`; the old ones, or None, while nobody can say."""
        async with self._lock:
            age = self._clock() - self._at
            if age > REMEMBERED_S or (age > MISS_S and not self._covers(wanted)):
                self._at = self._clock()
                try:
                    self._known = frozenset(await asyncio.to_thread(lambda: frozenset(self._load())))
                except InfrastructureError as error:
                    logger.warning("symbols cannot be read: %s", error)
        return self._known

    def _covers(self, wanted: Collection[str]) -> bool:
        return self._known is not None and self._known.issuperset(wanted)
