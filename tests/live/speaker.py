"""Speaks on Redis as the feed does: whole states, stored and published in one step."""

from infrastructure.bars import Bar
from infrastructure.intervals import INTERVALS
from infrastructure.persistence.live import Heard, LiveCache
from infrastructure.tradingview.base import Quote
from marketdata.live import blocks, protocol
from marketdata.live.blocks import Closed, Line
from marketdata.services.feed_report import Feed

MINUTE_MS = 60_000


class Speaker:
    def __init__(self, cache: LiveCache, fence: int = 1) -> None:
        self.cache = cache
        self.fence = fence
        self.seq = 0

    def quote(self, symbol: str, last: float, description: str | None = None) -> None:
        self.seq += 1
        json = protocol.encode_quote(Quote(symbol, last=last, description=description), self.seq, self.seq)
        self.cache.speak(self.fence, blocks.pack(self.fence, [Line(b"q", symbol.encode(), json)]), {symbol: json}, {})

    def quotes(self, values: dict[str, float]) -> None:
        for symbol, last in values.items():
            self.quote(symbol, last)

    def bar(self, topic: str, minute: int, close: float, closed: bool = False) -> None:
        self.seq += 1
        symbol, interval = protocol.split_topic(topic)
        bar = Bar(minute * MINUTE_MS, 1.0, close, 1.0, close, 5.0)
        json = protocol.encode_bar(symbol, INTERVALS[interval], self.seq, bar, closed, (minute + 1) * MINUTE_MS)
        lines = [] if closed else [Line(b"f", topic.encode(), json)]
        said = [Closed(topic, protocol.bar_mark(bar), json)] if closed else []
        self.cache.speak(self.fence, blocks.pack(self.fence, lines), {}, {topic: json}, closed=said)

    def state(self, state: str, reason: str = "") -> Feed:
        feed = Feed(state, reason, 1, self.seq, "simulator", True, self.fence, 3)
        json = protocol.encode(feed).encode()
        assert self.cache.speak(self.fence, blocks.pack(self.fence, [Line(b"s", b"", json)]), {}, {}, json) in Heard
        return feed
