"""A web process's copy of the newest part of the log of closed bars: browsers that come back cost Redis nothing. Pure;
filled and asked by the hub.

Bound: ENTRIES, then the oldest go; who was away for longer is told that it has not recovered.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from itertools import takewhile
from typing import NamedTuple

import msgspec

from infrastructure.persistence.closed_log import LogPage
from marketdata.live.blocks import CLOSED
from marketdata.live.protocol import Position

ENTRIES = 20_000

Offset = tuple[int, int]


class Logged(NamedTuple):
    """A closed bar and where it is in the log."""

    offset: str
    topic: str
    text: str


def parsed(offset: str) -> Offset:
    """Of `<ms>-<n>`; ValueError for anything else."""
    milliseconds, _, number = offset.partition("-")
    return int(milliseconds), int(number)


class ClosedLog:
    """`position` is where this copy ends, None until a log is known; `json` says it as a field of messages."""

    def __init__(self) -> None:
        self.position: Position | None = None
        self.json = ""
        self._floor = self._last = (0, 0)
        self._order: deque[tuple[Offset, str]] = deque()
        self._by_topic: dict[str, deque[tuple[Offset, str]]] = {}

    def begin(self, epoch: str, floor: str) -> None:
        """A log of which nothing is known up to and including the offset `floor`."""
        self._order.clear()
        self._by_topic.clear()
        self._floor = parsed(floor)
        self._move(epoch, floor)

    def follows(self, page: LogPage) -> bool:
        """Whether a page that was asked for from here on leaves no hole."""
        return self.position is not None and self.position.epoch == page.epoch and parsed(page.first) <= self._last

    def add(self, entries: Iterable[Logged]) -> list[Logged]:
        """Those that are new."""
        new = []
        for entry in entries:
            offset = parsed(entry.offset)
            if offset <= self._last:
                continue
            self._last = offset
            self._order.append((offset, entry.topic))
            self._by_topic.setdefault(entry.topic, deque()).append((offset, entry.text))
            new.append(entry)
        if new and self.position is not None:
            self._move(self.position.epoch, new[-1].offset)
        while len(self._order) > ENTRIES:
            self._drop_oldest()
        return new

    def extend(self, page: LogPage) -> list[Logged]:
        """A page that follows; its closed bars that are new."""
        new = self.add(
            Logged(offset, topic.decode(), json.decode())
            for offset, kind, topic, json in page.entries
            if kind == CLOSED
        )
        if page.entries:
            self._move(page.epoch, page.entries[-1].offset)
        return new

    def since(self, position: Position, topics: Collection[str], most: int) -> list[tuple[str, str]] | None:
        """(topic, text) of every closed bar of these topics after the position, in order; None where that cannot be
        said, or where there are more than `most`."""
        try:
            after = parsed(position.offset)
        except ValueError:
            return None
        if self.position is None or position.epoch != self.position.epoch or after < self._floor:
            return None
        missed = [
            (offset, topic, text)
            for topic in topics
            for offset, text in takewhile(lambda one: one[0] > after, reversed(self._by_topic.get(topic, ())))
        ]
        return [(topic, text) for _, topic, text in sorted(missed)] if len(missed) <= most else None

    def _drop_oldest(self) -> None:
        self._floor, topic = self._order.popleft()
        bars = self._by_topic[topic]
        bars.popleft()
        if not bars:
            del self._by_topic[topic]

    def _move(self, epoch: str, offset: str) -> None:
        self._last = parsed(offset)
        self.position = Position(epoch, offset)
        self.json = f',"log":{msgspec.json.encode(self.position).decode()}'


async def whole_log(read: Callable[[str | None], Awaitable[LogPage]]) -> ClosedLog:
    """All that is in the log; `read` gives a page from the start or after an offset."""
    log = ClosedLog()
    page = await read(None)
    log.begin(page.epoch, page.first)
    while page.entries:
        log.extend(page)
        page = await read(page.entries[-1].offset)
        if not log.follows(page):  # begun anew in between
            return await whole_log(read)
    return log
