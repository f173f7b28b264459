"""The wire between feed and hubs: what happened within a few milliseconds, as one Redis message. Pure.

A block is lines joined by newlines, each `kind|topic|json`; the first is `e|<fence>|` and names the leader that speaks.
Closed bars are last, after `l|<epoch of the log>|`, each as `c|topic|<offset> json`: Redis adds them when it logs them.
JSON never holds a raw newline, and topics hold neither newline nor bar (`protocol.sendable`).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

EPOCH = b"e"
QUOTE = b"q"  # topic SYMBOL, whole state
FORMING = b"f"  # topic SYMBOL@interval, whole state
CLOSED = b"c"  # topic SYMBOL@interval, stored already
LOG = b"l"  # topic is the epoch of the log
GONE = b"g"  # topic SYMBOL@interval, no longer streamed
STATE = b"s"  # no topic, the feed's state


class Line(NamedTuple):
    kind: bytes
    topic: bytes
    json: bytes


class Closed(NamedTuple):
    """A closed bar to log: `mark` is its time and a digest of its values, by which Redis knows it again."""

    topic: str
    mark: str
    json: bytes


def pack(fence: int, lines: Iterable[Line]) -> bytes:
    return b"\n".join((b"e|%d|" % fence, *(b"%b|%b|%b" % line for line in lines)))


def pack_state(feed: bytes) -> bytes:
    """The state of a feed that does not lead, and so has no fencing number."""
    return b"s||" + feed


def unpack(block: bytes) -> Iterator[Line]:
    """Lines that do not have three parts are left out: another version's feed may speak more."""
    for line in block.split(b"\n"):
        parts = line.split(b"|", 2)
        if len(parts) == 3:
            yield Line(*parts)
