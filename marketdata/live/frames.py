"""The messages of one flush: each made once, however many browsers get it, as ASGI event and as ready websocket frame.

Browsers that watch the same, or of whose watch lists the same part changed, share one. Pure; made by the hub.
"""

from collections.abc import Iterable, Set
from typing import Any, NamedTuple

from marketdata.live import protocol
from marketdata.live.latest import Latest

AsgiMessage = dict[str, Any]
NOTHING: frozenset[str] = frozenset()


HOLE = "hole"  # a snapshot that says that closed bars may have been missed


class Outgoing(NamedTuple):
    event: AsgiMessage
    frame: bytes


class Frames:
    """Valid for as long as `latest` does not change. `quotes` and `bars` are the topics that changed since the last
    flush; `log` is the field that says where the log of closed bars ends.

    It goes with closed bars and with snapshots, so that a frame of nothing but ticks pays nothing for it.
    """

    def __init__(self, latest: Latest, quotes: Set[str] = NOTHING, bars: Set[str] = NOTHING, log: str = "") -> None:
        self.quotes = quotes
        self.bars = bars
        self._latest = latest
        self._log = log
        self._made: dict[tuple[str, Set[str], Set[str], tuple[str, ...]], Outgoing] = {}

    def update(self, quotes: frozenset[str], bars: frozenset[str]) -> Outgoing | None:
        """What changed, for those who watch these and are owed nothing else."""
        due_quotes, due_bars = quotes & self.quotes, bars & self.bars if bars else bars
        return self.of("update", due_quotes, due_bars, ()) if due_quotes or due_bars else None

    def of(self, type: str, quotes: frozenset[str], bars: frozenset[str], closed: tuple[str, ...]) -> Outgoing:
        """A snapshot, hole or update: what is known of these topics, closed bars first and each bar once."""
        key = (type, quotes, bars, closed)
        made = self._made.get(key)
        if made is None:
            text = self._text(type, quotes, bars, closed)
            made = self._made[key] = Outgoing({"type": "websocket.send", "text": text}, framed(text.encode()))
        return made

    def among(self, closed: Iterable[tuple[str, str]]) -> frozenset[str]:
        """Topics of which the newest bar is one of these."""
        bars = self._latest.bars
        return frozenset(topic for topic, text in closed if bars.get(topic) == text)

    def _text(self, type: str, quotes: Set[str], bars: Set[str], closed: tuple[str, ...]) -> str:
        latest, told = self._latest, set(closed)
        newest = [latest.bars[topic] for topic in bars if topic in latest.bars]
        more = self._log if closed or type != "update" else ""
        return protocol.values(
            "snapshot" if type == HOLE else type,
            [latest.quotes[topic] for topic in quotes if topic in latest.quotes],
            [*closed, *(text for text in newest if text not in told)],
            f',"recovered":false{more}' if type == HOLE else more,
        )


def framed(text: bytes) -> bytes:
    """One unmasked websocket text frame (RFC 6455, section 5.2)."""
    length = len(text)
    if length < 126:
        return b"\x81%c%b" % (length, text)
    if length < 1 << 16:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), text)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), text)
