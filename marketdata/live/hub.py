"""One per web process: blocks of the feed in, one conflated frame per browser and flush out.

Every quote was encoded once, in the feed; here it is only remembered and joined with others. A tick costs the same with
one browser or with thousands; no send is awaited; under load the flush interval stretches (`stretch.py`).
Started by the first consumer in its event loop.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import msgspec
from msgspec import UNSET

from infrastructure.persistence import LiveSubscription, keys
from infrastructure.persistence.live import AsyncLiveCache
from marketdata.live import protocol
from marketdata.live.closed_log import ClosedLog, Logged, whole_log
from marketdata.live.connection import Connection
from marketdata.live.errors import Code
from marketdata.live.interest import Interest
from marketdata.live.latest import Latest
from marketdata.live.protocol import Position
from marketdata.live.slots import Slots
from marketdata.live.stretch import next_interval
from marketdata.live.supervision import supervised
from marketdata.services.feed_report import Feed, reported

SLOTS = 4  # browsers are flushed in up to so many groups, spread over the interval, not all at once
SLOT_S = 0.005  # but not closer than this: each waking costs as much as several sends
FEED_SILENCE_S = 5.0  # the feed reports every second; after this long it counts as absent
HEARTBEATS_MISSED = 2.5
BUSY_LIMIT_S = 15.0  # a browser that takes nothing for so long is cut off
OVER_LIMIT_S = 15.0  # so is one that is still there so long after it was closed
READY_S = 2.0
CANCEL_AGAIN_S = 0.2  # the Redis driver swallows a cancellation now and then


@dataclass(frozen=True, slots=True)
class HubOptions:
    flush_s: float
    heartbeat_s: float
    busy_limit_s: float = BUSY_LIMIT_S
    feed_silence_s: float = FEED_SILENCE_S


class Hub:
    """`stored_quotes` gives Q by symbol from the database, blocking; it is called in a thread."""

    def __init__(
        self,
        cache: AsyncLiveCache,
        subscription: LiveSubscription,
        stored_quotes: Callable[[], Mapping[str, bytes]],
        options: HubOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cache = cache
        self._subscription = subscription
        self._stored_quotes = stored_quotes
        self._options = options
        self._clock = clock
        self.latest = Latest()
        self.log = ClosedLog()
        self.feed = Feed("absent", "Nothing has been heard from the feed yet.")
        self.interval_s = options.flush_s
        self._loading = {"stored", "present"}
        self._ready = asyncio.Event()  # both were loaded once, or somebody waited long enough
        slots = min(SLOTS, max(1, round(options.flush_s / SLOT_S)))
        self._slots = Slots(slots)
        self._connections: set[Connection] = set()
        self._arriving: set[Connection] = set()
        self._beats = 0
        self._interest = Interest(cache)
        self._feed_at = clock()
        self._tasks: list[asyncio.Task[None]] = []

    # --- life ---

    def start(self) -> None:
        """In the running loop; a second call does nothing."""
        if not self._tasks:
            steps = (self._load_stored, self._read, self._flush_rounds, self._watch, self._interest.tell)
            self._tasks = [asyncio.ensure_future(supervised(step, self._clock)) for step in steps]

    async def close(self) -> None:
        """Says goodbye to every browser, then stops."""
        for connection in (*self._arriving, *self._connections):
            connection.close(Code.RESTARTING, "The server is restarting.")
        running, self._tasks = set(self._tasks), []
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
        await self._cache.aclose()

    async def wait_ready(self) -> None:
        """Until the first values are here, so that a snapshot holds them; not for long where a store is down."""
        if self._ready.is_set():  # without the task and the timer of `wait_for`, when a thousand come at once
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ready.wait(), READY_S)
        self._ready.set()

    # --- browsers ---

    @property
    def epoch(self) -> str:
        return str(self.feed.fence)

    def arrive(self, connection: Connection) -> None:
        """It may be closed or cut off already, but hears nothing before it is added."""
        self._arriving.add(connection)

    def add(self, connection: Connection) -> None:
        """Heartbeats are spread: of a thousand that come at once, not all are asked at once for ever."""
        self._arriving.discard(connection)
        self._connections.add(connection)
        connection.pinged_at -= random.random() * self._options.heartbeat_s

    def remove(self, connection: Connection) -> None:
        self._arriving.discard(connection)
        self._connections.discard(connection)
        self.unwatch(connection, connection.quotes, connection.bars)
        connection.gone()

    def watch(
        self, connection: Connection, quotes: Collection[str], bars: Collection[str], since: Position | None = None
    ) -> bool:
        """A snapshot of these topics comes with the next flush. Whether every closed bar after `since` does too."""
        self._interest.add(connection, quotes, bars)
        connection.watch(quotes, bars)
        self._slots.seat(connection)
        missed = self.log.since(since, bars, connection.room) if since else None
        if missed is not None:
            connection.replay(bars, missed)
        return missed is not None

    def unwatch(self, connection: Connection, quotes: Collection[str], bars: Collection[str]) -> None:
        self._interest.remove(connection, quotes, bars)
        connection.unwatch(quotes, bars)
        self._slots.seat(connection)

    # --- from the feed ---

    async def _load_stored(self) -> None:
        """The last known prices; whatever Redis and the feed say is newer."""
        stored = await asyncio.to_thread(self._stored_quotes)
        self.latest.load_stored(stored)
        self._loaded("stored")

    async def _read(self) -> None:
        async for block in self._subscription:
            if block is None:
                await self._load_present()
            else:
                self.apply(block)
                await asyncio.sleep(0)  # a burst of buffered blocks must not starve the flushes

    async def _load_present(self) -> None:
        """After each (re)connection: blocks may have been missed, so everybody gets a fresh snapshot."""
        quotes, bars = await self._cache.aquotes(), await self._cache.abars()
        feed = await self._cache.aget_json(keys.FEED)
        self.latest.load(quotes, bars)
        await self._catch_up()
        if feed is not None:
            self._state(reported(feed, Feed))
        self._interest.tell_anew()
        self._loaded("present")

    async def _catch_up(self) -> None:
        """Reads the log on from where this process lost it. Where there is a hole: all of it, and everybody is told."""
        while self.log.position is not None:
            page = await self._cache.alog(self.log.position.offset)
            if not self.log.follows(page):
                break
            self._hand_out(self.log.extend(page))
            if not page.entries:
                return
        self.log = await whole_log(self._cache.alog)
        self._refresh_all(hole=True)

    def _loaded(self, part: str) -> None:
        self._refresh_all()
        self._loading.discard(part)
        if not self._loading:
            self._ready.set()

    def apply(self, block: bytes) -> None:
        changes = self.latest.apply(block, self._clock())
        if changes.log_epoch:
            self._log_closed(changes.log_epoch, changes.closed)
        for slot in self._slots:
            slot.change(changes.quotes, changes.bars)
        if changes.new_leader:
            self._refresh_all()
        if changes.feed is not None:
            self._state(changes.feed)

    def _log_closed(self, epoch: str, entries: list[Logged]) -> None:
        """Another epoch: the log was begun anew, and what was to come before these may be lost."""
        if self.log.position is None or self.log.position.epoch != epoch:
            self.log.begin(epoch, "0-0")
            self._refresh_all(hole=True)
        self._hand_out(self.log.add(entries))

    def _hand_out(self, entries: list[Logged]) -> None:
        for _, topic, text in entries:
            for connection in self._interest.watchers(topic):
                connection.closed_bar(topic, text)

    def _state(self, feed: Feed) -> None:
        self._feed_at = self._clock()
        changed = feed.said() != self.feed.said()
        self.feed = feed
        if changed:
            text = protocol.encode(protocol.Status(self.epoch, feed))
            for connection in tuple(self._connections):
                connection.post(text)

    def _refresh_all(self, hole: bool = False) -> None:
        for connection in self._connections:
            connection.refresh(hole)

    # --- to the browsers ---

    async def _flush_rounds(self) -> None:
        wake = self._clock()
        while True:
            busy = late = 0.0
            for slot in self._slots:
                wake = max(wake + self.interval_s / len(self._slots), self._clock())
                await asyncio.sleep(wake - self._clock())
                started = self._clock()
                slot.flush(self.latest, self.log.json)
                busy += self._clock() - started
                late += (started - wake) / len(self._slots)
            self.interval_s = next_interval(self._options.flush_s, self.interval_s, busy, late)

    async def _watch(self) -> None:
        """Heartbeats, browsers that are dead or do not read, and a feed that has gone silent."""
        period = min(1.0, self._options.heartbeat_s / 4, self._options.feed_silence_s / 4)
        while True:
            await asyncio.sleep(period)
            now = self._clock()
            self._beats += 1
            ping = protocol.encode(protocol.Ping(self._beats))
            ping_with_log = protocol.encode(protocol.Ping(self._beats, self.log.position or UNSET))
            for connection in (*self._arriving, *self._connections):
                self._let_go(connection, now)
            for connection in tuple(self._connections):
                self._ask(connection, now, ping_with_log if connection.has_every_closed_bar else ping)
            if self.feed.state != "absent" and now - self._feed_at > self._options.feed_silence_s:
                silence = f"Nothing has been heard from the feed for {self._options.feed_silence_s:g} s."
                self._state(
                    msgspec.structs.replace(self.feed, state="absent", reason=silence, since_ms=self.feed.at_ms)
                )

    def _let_go(self, connection: Connection, now: float) -> None:
        connection.look(now)
        if connection.busy_since is not None and now - connection.busy_since > self._options.busy_limit_s:
            connection.cut_off("it has taken nothing for too long")
        elif connection.over_since is not None and now - connection.over_since > OVER_LIMIT_S:
            connection.cut_off("it is still there after its end")

    def _ask(self, connection: Connection, now: float, ping: str) -> None:
        """The end of the log is in it only for one who was handed all that comes before."""
        heartbeat_s = self._options.heartbeat_s
        if now - connection.heard_at > HEARTBEATS_MISSED * heartbeat_s:
            connection.close(Code.NO_HEARTBEAT, "No heartbeat was answered.")
        elif now - connection.pinged_at >= heartbeat_s:
            connection.pinged_at = now
            connection.post(ping)
