"""The feed's picture of the market: updates of the source in, encoded lines for Redis out. Pure; used by the publisher.

Quotes are merged per symbol and bars per topic, latest wins. Closed bars wait in order until they were said, at most
CLOSED_LINES of them: then the oldest is dropped and the next batch says so (the bar itself is stored already).
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from infrastructure.tradingview.base import BarUpdate, Quote, QuoteUpdate
from marketdata.live import blocks, protocol
from marketdata.live.blocks import Closed, Line

CLOSED_LINES = 10_000
CLOSED_BATCH = 1000  # said at once: the script that logs them must not hold Redis for long


@dataclass(slots=True)
class Batch:
    """Lines to publish, closed bars to log and publish, and what Redis must hold by topic afterwards. `lost`: closed
    bars were dropped before these."""

    lines: list[Line] = field(default_factory=list)
    quotes: dict[str, bytes] = field(default_factory=dict)
    bars: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    closed: list[Closed] = field(default_factory=list)
    lost: bool = False


class Board:
    def __init__(self, stored: Mapping[str, tuple[Quote, int]]) -> None:
        self._quotes = dict(stored)
        self._bars: dict[str, tuple[int, bytes]] = {}
        self._seqs: dict[str, int] = {}
        self._changes: dict[str, tuple[dict[str, Any], int]] = {}
        self._forming: dict[str, BarUpdate] = {}
        self._gone: set[str] = set()
        self._forgotten: set[str] = set()  # bars of these are on their way at most: nobody streams them
        self._closed: deque[Closed] = deque(maxlen=CLOSED_LINES)
        self._said_closed = 0
        self._lost = self._said_lost = 0
        self._unsaved: set[str] = set()

    @property
    def news(self) -> bool:
        return bool(self._changes or self._forming or self._closed or self._gone)

    def quote(self, update: QuoteUpdate) -> None:
        changes, _ = self._changes.get(update.symbol, ({}, 0))
        self._changes[update.symbol] = ({**changes, **update.changes}, update.received_ms)

    def bar(self, update: BarUpdate) -> None:
        """A forming bar, or a closed one that is stored."""
        topic = protocol.bar_topic(update.symbol, update.interval.name)
        if update.closed:
            if len(self._closed) == CLOSED_LINES:
                self._drop_oldest()
            mark = protocol.bar_mark(update.bar)
            self._closed.append(Closed(topic, mark, self._encode_bar(topic, update)))
            waiting = self._forming.get(topic)
            if waiting and waiting.bar.time_ms <= update.bar.time_ms:
                del self._forming[topic]
        elif topic not in self._forgotten:
            self._forming[topic] = update

    def forget(self, topics: Collection[str]) -> None:
        """Bars nobody streams any more, until they are expected again. A closed one that is stored late is said."""
        self._gone.update(topics)
        self._forgotten.update(topics)

    def expect(self, topics: Collection[str]) -> None:
        self._gone.difference_update(topics)
        self._forgotten.difference_update(topics)

    def lose(self) -> None:
        """Closed bars were missed before those that come next."""
        self._lost += 1

    def take(self) -> Batch:
        """What is new. Closed bars are in every batch until `said`, some at a time."""
        closed = list(islice(self._closed, CLOSED_BATCH))
        lost = self._lost if closed else 0  # the log begins anew with what comes after
        batch = Batch(gone=self._take_gone(), closed=closed, lost=lost > 0)
        self._said_closed, self._said_lost = len(closed), lost
        for topic in {one.topic for one in closed} & self._bars.keys():
            batch.bars[topic] = self._bars[topic][1]
        for topic, update in self._take_forming().items():
            batch.bars[topic] = json = self._encode_bar(topic, update)
            batch.lines.append(Line(blocks.FORMING, topic.encode(), json))
        for symbol in self._merge():
            batch.quotes[symbol] = json = self._encode_quote(symbol)
            batch.lines.append(Line(blocks.QUOTE, symbol.encode(), json))
        batch.lines += [Line(blocks.GONE, topic.encode(), b"") for topic in batch.gone]
        return batch

    def take_all(self) -> Batch:
        """Everything there is, for a Redis that may hold nothing or something older."""
        fresh = self.take()
        batch = Batch([line for line in fresh.lines if line.kind == blocks.GONE], closed=fresh.closed, lost=fresh.lost)
        batch.bars = {topic: json for topic, (_, json) in self._bars.items()}
        batch.lines += [Line(blocks.FORMING, topic.encode(), json) for topic, json in batch.bars.items()]
        batch.quotes = {symbol: fresh.quotes.get(symbol) or self._encode_quote(symbol) for symbol in self._quotes}
        batch.lines += [Line(blocks.QUOTE, symbol.encode(), json) for symbol, json in batch.quotes.items()]
        return batch

    def said(self) -> None:
        """The batch taken last has arrived."""
        for _ in range(self._said_closed):
            self._closed.popleft()
        self._lost -= self._said_lost
        self._said_closed = self._said_lost = 0

    def take_unsaved(self) -> list[tuple[Quote, int]]:
        """(quote, updated_ms) of what changed since the last call; `not_saved` gives them back if saving fails."""
        unsaved, self._unsaved = self._unsaved, set()
        return [self._quotes[symbol] for symbol in unsaved]

    def not_saved(self, quotes: Iterable[tuple[Quote, int]]) -> None:
        self._unsaved.update(quote.symbol for quote, _ in quotes)

    def _drop_oldest(self) -> None:
        """One that is on its way just now may have arrived: then nothing is lost, and this is only too careful."""
        self._closed.popleft()
        self._said_closed = max(self._said_closed - 1, 0)
        self._lost += 1

    def _merge(self) -> Collection[str]:
        changes, self._changes = self._changes, {}
        for symbol, (fields, received_ms) in changes.items():
            quote = self._quotes[symbol][0] if symbol in self._quotes else Quote(symbol)
            self._quotes[symbol] = (quote.merged(fields), received_ms)
        self._unsaved.update(changes)
        return changes.keys()

    def _take_forming(self) -> dict[str, BarUpdate]:
        """Without those that are older than a bar of the same topic that is known already."""
        forming, self._forming = self._forming, {}
        return {
            topic: update
            for topic, update in forming.items()
            if topic not in self._bars or update.bar.time_ms >= self._bars[topic][0]
        }

    def _take_gone(self) -> set[str]:
        gone, self._gone = self._gone, set()
        for topic in gone:
            self._bars.pop(topic, None)
            self._forming.pop(topic, None)
        return gone

    def _encode_quote(self, symbol: str) -> bytes:
        quote, updated_ms = self._quotes[symbol]
        return protocol.encode_quote(quote, self._next(symbol), updated_ms)

    def _encode_bar(self, topic: str, update: BarUpdate) -> bytes:
        bar = update.bar
        json = protocol.encode_bar(
            update.symbol, update.interval, self._next(topic), bar, update.closed, update.close_ms
        )
        if topic not in self._forgotten and (topic not in self._bars or bar.time_ms >= self._bars[topic][0]):
            self._bars[topic] = (bar.time_ms, json)
        return json

    def _next(self, topic: str) -> int:
        self._seqs[topic] = seq = self._seqs.get(topic, 0) + 1
        return seq
