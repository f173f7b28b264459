"""Who of this web process watches what, and telling Redis, so that the feed streams it. Used by the hub."""

import asyncio
from collections import Counter
from collections.abc import Collection

from infrastructure.persistence.live import AsyncLiveCache
from marketdata.live.connection import Connection

TTL_S = 30
EVERY_S = 10.0
PAUSE_S = 0.2  # gathers the subscriptions of browsers that come together


class Interest:
    """Bounded by what the connections may watch."""

    def __init__(self, cache: AsyncLiveCache) -> None:
        self._cache = cache
        self._quotes: Counter[str] = Counter()
        self._bars: dict[str, set[Connection]] = {}
        self._news = asyncio.Event()

    def add(self, connection: Connection, quotes: Collection[str], bars: Collection[str]) -> None:
        self._quotes.update(topic for topic in quotes if topic not in connection.quotes)
        for topic in bars:
            self._bars.setdefault(topic, set()).add(connection)
        self._news.set()

    def remove(self, connection: Connection, quotes: Collection[str], bars: Collection[str]) -> None:
        for topic in connection.quotes.intersection(quotes):
            self._quotes[topic] -= 1
            if not self._quotes[topic]:
                del self._quotes[topic]
        for topic in connection.bars.intersection(bars):
            self._bars[topic].discard(connection)
            if not self._bars[topic]:
                del self._bars[topic]

    def watchers(self, topic: str) -> Collection[Connection]:
        """Of a topic of bars; a copy."""
        return tuple(self._bars.get(topic, ()))

    def items(self) -> list[str]:
        return [*self._quotes, *self._bars]

    def tell_anew(self) -> None:
        """Redis may have forgotten."""
        self._news.set()

    async def tell(self) -> None:
        """For ever: at once where something is new, else often enough that nothing expires."""
        while True:
            self._news.clear()  # before they are read: what comes while Redis is told is told next
            if items := self.items():
                await self._cache.aadd_interest(items, TTL_S)
            try:
                await asyncio.wait_for(self._news.wait(), EVERY_S)
                await asyncio.sleep(PAUSE_S)
            except TimeoutError:
                pass
