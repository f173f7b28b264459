"""The newest quote and bar of every topic, from the feed's blocks: what a hub remembers and what it must tell. Pure.

Bounded by what the feed streams. Blocks of a leader that has been replaced are ignored, but for their closed bars:
those are in the log now.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from marketdata.live import blocks, protocol
from marketdata.live.closed_log import Logged
from marketdata.services.feed_report import Feed

FENCE_MEMORY_S = 10.0  # how long an older leader is ignored after the newer one was last heard


@dataclass(slots=True)
class Changes:
    """What one block brought: topics whose newest value changed, closed bars in order, the feed's state."""

    quotes: list[str] = field(default_factory=list)
    bars: list[str] = field(default_factory=list)
    closed: list[Logged] = field(default_factory=list)
    log_epoch: str = ""  # of the log that `closed` was added to
    feed: Feed | None = None
    new_leader: bool = False


class Latest:
    def __init__(self) -> None:
        self.quotes: dict[str, str] = {}
        self.bars: dict[str, str] = {}
        self._fence = 0
        self._fence_at = float("-inf")

    def load(self, quotes: Mapping[str, bytes], bars: Mapping[str, bytes]) -> None:
        """What Redis holds; a quote it does not know stays as it was."""
        self.quotes.update((symbol, json.decode()) for symbol, json in quotes.items())
        self.bars = {topic: json.decode() for topic, json in bars.items()}

    def load_stored(self, quotes: Mapping[str, bytes]) -> None:
        """What the database holds: older than anything that is here already."""
        for symbol, json in quotes.items():
            self.quotes.setdefault(symbol, json.decode())

    def apply(self, block: bytes, now: float) -> Changes:
        """`now` in seconds of any clock that only runs forward."""
        changes, is_replaced, gone = Changes(), False, []
        for kind, topic, json in blocks.unpack(block):
            if is_replaced and kind not in (blocks.CLOSED, blocks.LOG):
                continue
            if kind == blocks.QUOTE:
                symbol = topic.decode()
                self.quotes[symbol] = json.decode()
                changes.quotes.append(symbol)
            elif kind == blocks.FORMING:
                name = topic.decode()
                self.bars[name] = json.decode()
                changes.bars.append(name)
            elif kind == blocks.CLOSED:
                changes.closed.append(self._closed(topic.decode(), json.decode()))
            elif kind == blocks.LOG:
                changes.log_epoch = topic.decode()
            elif kind == blocks.GONE:
                gone.append(topic.decode())
            elif kind == blocks.STATE:
                changes.feed = protocol.decode_feed(json)
            elif kind == blocks.EPOCH:
                fence = int(topic)
                if fence < self._fence and now - self._fence_at < FENCE_MEMORY_S:
                    is_replaced = True
                    continue
                changes.new_leader = self._fence not in (0, fence)
                self._fence, self._fence_at = fence, now
        for name in gone:
            self.bars.pop(name, None)
        return changes

    def _closed(self, topic: str, said: str) -> Logged:
        offset, _, text = said.partition(" ")
        newest = self.bars.get(topic)
        # The next bar may have begun while this one was being stored: then that one stays the newest.
        if newest is None or protocol.bar_time_ms(newest) <= protocol.bar_time_ms(text):
            self.bars[topic] = text
        return Logged(offset, topic, text)
