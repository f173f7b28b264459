"""One browser as the hub sees it: what it watches, what it still has to get, and a send that is never awaited.

Bounds: messages wait in `_outbox` (OUTBOX, OUTBOX_CHARACTERS), changed topics in sets (at most the subscriptions),
closed bars in order (CLOSED_BARS). Loss: quotes and forming bars are merged to their latest state; whoever overflows a
bound is closed with TOO_SLOW, whoever reads nothing at all is cut off, and both get a snapshot when they come back. For
one event loop.
"""

import asyncio
import logging
import types
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Generator, Iterable
from typing import Any

from marketdata.live import protocol
from marketdata.live.door import Door
from marketdata.live.errors import Code
from marketdata.live.frames import HOLE, NOTHING, AsgiMessage, Frames, framed

OUTBOX = 64
OUTBOX_CHARACTERS = 1_000_000
CLOSED_BARS = 2000

Send = Callable[[AsgiMessage], Awaitable[None]]

logger = logging.getLogger(__name__)


@types.coroutine
def _rest(step: Generator[Any, Any, None], pending: Any) -> Generator[Any, Any, None]:
    """Awaits what is left of a coroutine whose first step yielded `pending`."""
    try:
        while True:
            try:
                value = yield pending
            except BaseException as error:  # noqa: BLE001  a cancellation too belongs to the coroutine
                pending = step.throw(error)
            else:
                pending = step.send(value)
    except StopIteration:
        return


class Connection:
    """`send` is the ASGI send; `cut` ends the consumer without another word. Times are the hub's clock in seconds.

    Ready-made frames take the `door` while it is open; else, and without one, `send` is the way.
    """

    __slots__ = (  # there are thousands
        "__weakref__", "_clock", "_closed", "_cut", "_door", "_due_bars", "_due_quotes", "_hole", "_outbox", "_send",
        "_sending", "_snapshot_bars", "_snapshot_quotes", "_unsent", "bars", "busy_since", "heard_at", "on_behind",
        "over_since", "pinged_at", "quotes",
    )  # fmt: skip

    def __init__(
        self,
        send: Send,
        cut: Callable[[], None],
        now: float,
        clock: Callable[[], float],
        door: Door | None = None,
    ) -> None:
        self._send = send
        self._door = door
        if door is not None:
            door.on_shut = self._fall_behind
        self._cut = cut
        self._clock = clock
        self.quotes: frozenset[str] = NOTHING
        self.bars: frozenset[str] = NOTHING
        self.heard_at = now
        self.pinged_at = now
        self.busy_since: float | None = None
        self.over_since: float | None = None
        self._unsent = 0  # bytes that waited for the socket when it was last looked at
        #: Called whenever it may no longer be written to directly, and whenever it is owed something.
        self.on_behind: Callable[[Connection], None] | None = None
        self._outbox: deque[AsgiMessage] = deque()
        self._closed: deque[tuple[str, str]] = deque()
        self._hole = False  # the next snapshot says that closed bars may have been missed
        self._due_quotes: frozenset[str] = NOTHING
        self._due_bars: frozenset[str] = NOTHING
        self._snapshot_quotes: frozenset[str] = NOTHING
        self._snapshot_bars: frozenset[str] = NOTHING
        self._sending: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Nothing more is sent: closing, cut off, or the client has gone."""
        return self.over_since is not None

    # --- what it watches ---

    def watch(self, quotes: Collection[str], bars: Collection[str]) -> None:
        """Adds topics; a snapshot of all of them is due, before any update."""
        self.quotes = self.quotes.union(quotes)
        self.bars = self.bars.union(bars)
        self._snapshot_quotes = self._snapshot_quotes.union(quotes)
        self._snapshot_bars = self._snapshot_bars.union(bars)
        self._fall_behind()

    def unwatch(self, quotes: Collection[str], bars: Collection[str]) -> None:
        """Drops topics; nothing about them is sent any more."""
        self.quotes = self.quotes.difference(quotes)
        self.bars = self.bars.difference(bars)
        self._due_quotes &= self.quotes
        self._due_bars &= self.bars
        self._snapshot_quotes &= self.quotes
        self._snapshot_bars &= self.bars
        self._closed = deque(item for item in self._closed if item[0] in self.bars)

    def refresh(self, hole: bool = False) -> None:
        """A snapshot of everything is due: what was sent before may be old. `hole`: and closed bars may be missing."""
        self._snapshot_quotes |= self.quotes
        self._snapshot_bars |= self.bars
        self._fall_behind()
        self._hole = self._hole or (hole and bool(self.bars))

    def replay(self, bars: Collection[str], missed: Iterable[tuple[str, str]]) -> None:
        """The closed bars of these topics that it must get, in place of those of them that wait."""
        self._fall_behind()
        self._closed = deque(item for item in self._closed if item[0] not in bars)
        for topic, text in missed:
            self.closed_bar(topic, text)

    # --- what it gets ---

    def post(self, *texts: str) -> None:
        """Sends messages in order, as soon as the client takes them."""
        if self.over:
            return
        self._outbox.extend({"type": "websocket.send", "text": text} for text in texts)
        self._pump()
        if len(self._outbox) > OUTBOX or sum(len(one["text"]) for one in self._outbox) > OUTBOX_CHARACTERS:
            self.close(Code.TOO_SLOW, "Answers piled up unread.")

    def closed_bar(self, topic: str, text: str) -> None:
        """A closed bar: kept in order until the next flush, never merged away."""
        if len(self._closed) >= CLOSED_BARS:
            self.close(Code.TOO_SLOW, "Closed bars piled up unread.")
        else:
            self._closed.append((topic, text))
            self._fall_behind()

    @property
    def room(self) -> int:
        """How many closed bars may be replayed: half of what may wait, so that those to come have room too."""
        return CLOSED_BARS // 2 - len(self._closed)

    @property
    def has_every_closed_bar(self) -> bool:
        """Whether all that the hub knows was handed to it: only then may it be told where the log ends."""
        return not (self._closed or self._hole)

    @property
    def due(self) -> bool:
        """Whether the next flush has something for it, even if nothing changes until then."""
        return not self.over and bool(
            self._snapshot_quotes or self._snapshot_bars or self._due_quotes or self._due_bars or self._closed
        )

    @property
    def direct(self) -> Callable[[bytes], object] | None:
        """Takes what changes, of one to whom nothing is `due`, until `on_behind` is called. None: `flush` it."""
        if self._door is None or not self._door.is_open or self.over or self.busy_since is not None:
            return None
        return self._door.write

    def flush(self, frames: Frames) -> None:
        """Sends what changed and what is owed, a snapshot as a frame of its own before; or remembers it while busy."""
        quotes, bars = self.quotes & frames.quotes, self.bars & frames.bars
        due_quotes, due_bars = quotes | self._due_quotes, bars | self._due_bars
        self._due_quotes = self._due_bars = NOTHING
        if not self.over and self.busy_since is None and (self._snapshot_quotes or self._snapshot_bars):
            due_quotes -= self._snapshot_quotes
            due_bars -= self._snapshot_bars | frames.among(self._closed)  # it tells those that have closed, too
            type = HOLE if self._hole else "snapshot"
            self._send_values(type, self._snapshot_quotes, self._snapshot_bars, frames)
            self._snapshot_quotes = self._snapshot_bars = NOTHING
            self._hole = False
        if self.over or self.busy_since is not None:
            self._due_quotes, self._due_bars = due_quotes, due_bars
        elif due_quotes or due_bars or self._closed:
            self._send_values("update", due_quotes, due_bars, frames)

    def _send_values(self, type: str, quotes: frozenset[str], bars: frozenset[str], frames: Frames) -> None:
        """Closed bars go first in either, so that a bar never comes after its successor because of a snapshot."""
        closed: tuple[str, ...] = ()
        if self._closed:
            closed = tuple(text for _, text in self._closed)
            self._closed.clear()
        outgoing = frames.of(type, quotes, bars, closed)
        if not self._write(outgoing.frame):
            self._start(outgoing.event)

    # --- how it ends ---

    def look(self, now: float) -> None:
        """Now and then: who takes a large snapshot slowly is not one who takes nothing."""
        if self.busy_since is not None and self._door is not None:
            unsent = self._door.unsent()
            if unsent < self._unsent:
                self.busy_since = now
            self._unsent = unsent

    def close(self, code: Code, reason: str) -> None:
        """Says why and closes; what is due but not sent is dropped."""
        if self.over:
            return
        self.over_since = self._clock()
        self._fall_behind()
        for message in (protocol.Error(code, reason), protocol.Bye(code, reason, code.reconnect)):
            self._outbox.append({"type": "websocket.send", "text": protocol.encode(message)})
        self._outbox.append({"type": "websocket.close", "code": int(code), "reason": reason})
        self._pump()

    def cut_off(self, why: str) -> None:
        """For one that reads nothing: no word would reach it."""
        logger.info("a browser is cut off: %s", why)
        self.gone()
        self._cut()

    def gone(self) -> None:
        if self.over_since is None:
            self.over_since = self._clock()
        self._fall_behind()
        self._outbox.clear()
        if self._sending is not None:
            self._sending.cancel()

    def lost(self, error: Exception) -> None:
        logger.debug("a browser has gone: %r", error)
        self._sending = None
        self.gone()
        self._cut()

    # --- sending ---

    def _fall_behind(self) -> None:
        if self.on_behind is not None:
            self.on_behind(self)

    def _pump(self) -> None:
        while self._outbox and self.busy_since is None:
            message = self._outbox.popleft()
            if "text" not in message or not self._write(framed(message["text"].encode())):
                self._start(message)

    def _write(self, frame: bytes) -> bool:
        """Through the door, if it is open."""
        if self._door is None or not self._door.is_open:
            return False
        try:
            self._door.write(frame)
        except Exception as error:  # noqa: BLE001  servers raise what they like for a lost client; the others go on
            self.lost(error)
        return True

    def _start(self, message: AsgiMessage) -> None:
        """Runs the send up to its first wait, usually to its end; else it is busy, and a task waits for the rest."""
        step = self._send(message).__await__()
        try:
            pending = next(step)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001  servers raise what they like for a lost client; the others go on
            self.lost(error)
            return
        self.busy_since = self._clock()
        self._fall_behind()
        self._sending = asyncio.ensure_future(self._finish(step, pending))

    async def _finish(self, step: Generator[Any, Any, None], pending: Any) -> None:
        try:
            await _rest(step, pending)
        except Exception as error:  # noqa: BLE001  as above
            self.lost(error)
        self.busy_since, self._sending = None, None
        self._pump()
