"""Browsers whose sockets a test fills and empties, and the slots that flush them."""

import asyncio
import json
from typing import Any

from marketdata.live.connection import Connection
from marketdata.live.door import Door
from marketdata.live.latest import Latest
from marketdata.live.slots import Slots

TOPICS = ["A", "B", "C", "D"]


class Browser:
    """A connection, and the socket behind its door. `room`: frames that it still takes before it is full."""

    def __init__(self, has_door: bool = True) -> None:
        self.got: list[Any] = []
        self.room = 1_000_000
        self.raises: Exception | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._door = Door(self._write, lambda: 0) if has_door else None
        self.connection = Connection(self._send, lambda: None, 0.0, lambda: 0.0, self._door)
        self.take()

    def _write(self, frame: bytes) -> None:
        assert self._door and self._door.is_open
        if self.raises:
            raise self.raises
        self._got(frame[{126: 4, 127: 10}.get(frame[1], 2) :].decode())

    async def _send(self, message: dict[str, Any]) -> None:
        await self._writable.wait()
        if "text" in message:
            self._got(message["text"])

    def _got(self, text: str) -> None:
        self.got.append(json.loads(text))
        self.room -= 1
        if self.room <= 0:
            self._writable.clear()
            if self._door:
                self._door.shut()

    def take(self, room: int = 1_000_000) -> None:
        self.room = room
        self._writable.set()
        if self._door:
            self._door.is_open = True

    def read(self) -> list[Any]:
        got, self.got = self.got, []
        return got


class Site:
    """Slots, what is known, and a flush of all of them."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = Slots(slots)
        self.latest = Latest()

    def watch(self, browser: Browser, *topics: str) -> None:
        quotes = [topic for topic in topics if "@" not in topic]
        browser.connection.watch(quotes, set(topics).difference(quotes))
        self.slots.seat(browser.connection)

    def unwatch(self, browser: Browser, *topics: str) -> None:
        browser.connection.unwatch(topics, topics)
        self.slots.seat(browser.connection)

    def say(self, topic: str, value: int) -> None:
        self.latest.quotes[topic] = f'{{"s":"{topic}","n":{value}}}'
        for slot in self.slots:
            slot.change([topic], [])

    def flush(self) -> None:
        for slot in self.slots:
            slot.flush(self.latest, "")

    def places(self, browsers: list[Browser]) -> list[int]:
        """How many sit in each slot: by who is reached when only that one is flushed."""
        counts = []
        for slot in self.slots:
            for browser in browsers:
                browser.read()
            slot.flush(self.latest, "")
            counts.append(sum(bool(browser.read()) for browser in browsers))
        return counts


def values(frames: list[Any]) -> list[tuple[str, list[int]]]:
    return [(one["type"], [quote["n"] for quote in one["quotes"]]) for one in frames]
