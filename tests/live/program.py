"""A program that keeps every closed bar of its topics, or knows since when it may miss some; and a network to cut."""

import asyncio
import json
import random
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.live.browser import DEADLINE_S
from tests.live.schema import checked

SILENCE = 2.5  # heartbeat periods after which a connection is taken for dead


class Program:
    """`closed` holds the close of each closed bar by minute, in order of arrival; `holes` counts how often it was told
    that some may be missing."""

    def __init__(self, url: str, key: str, topic: str) -> None:
        self._url, self._key, self._topic = url, key, topic
        self.closed: dict[int, float] = {}
        self.holes = self.resumed = self.connections = self.lost = 0
        self._place: dict[str, str] | None = None
        self._changed = asyncio.Condition()
        self._task = asyncio.ensure_future(self._run())

    async def until(self, minute: int) -> None:
        """Until the bar of that minute came closed."""
        await self._wait(lambda: minute in self.closed)

    async def until_hole(self, count: int) -> None:
        await self._wait(lambda: self.holes >= count)

    async def until_resumed(self, count: int) -> None:
        await self._wait(lambda: self.resumed >= count)

    async def until_lost(self, count: int) -> None:
        """Until so many connections have ended."""
        await self._wait(lambda: self.lost >= count)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _wait(self, holds: Any) -> None:
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: holds() or self._task.done())
        if self._task.done():
            await self._task

    async def _run(self) -> None:
        while True:
            with suppress(OSError, TimeoutError, InvalidHandshake, ConnectionClosed, EOFError):
                async with connect(self._url, compression=None, close_timeout=0.1, open_timeout=2) as socket:
                    self.connections += 1
                    try:
                        await self._talk(socket)
                    finally:
                        await self._count_loss()
            await asyncio.sleep(random.uniform(0.05, 0.2))

    async def _count_loss(self) -> None:
        async with self._changed:
            self.lost += 1
            self._changed.notify_all()

    async def _talk(self, socket: ClientConnection) -> None:
        await socket.send(json.dumps({"op": "auth", "key": self._key}))
        hello = await self._hear(socket, 5.0)
        silence_s = SILENCE * hello["heartbeat_s"]
        since = {"since": self._place} if self._place else {}
        await socket.send(json.dumps({"op": "subscribe", "bars": [self._topic], **since}))
        answered = False
        while True:
            message = await self._hear(socket, silence_s)
            if message["type"] == "ping":
                await socket.send(json.dumps({"op": "pong", "n": message["n"]}))
            answered = answered or message["type"] == "subscribed"
            async with self._changed:
                self._take(message, answered)
                self._changed.notify_all()

    async def _hear(self, socket: ClientConnection, silence_s: float) -> dict[str, Any]:
        async with asyncio.timeout(silence_s):
            return checked(json.loads(await socket.recv()))

    def _take(self, message: dict[str, Any], answered: bool) -> None:
        self.holes += message.get("recovered") is False
        self.resumed += message["type"] == "subscribed" and message.get("recovered") is True
        for bar in message.get("bars", ()) if message["type"] in ("snapshot", "update") else ():
            if bar["closed"]:
                self.closed.setdefault(bar["t"] // 60_000, bar["c"])
        if answered and "log" in message:
            self._place = message["log"]


class Network:
    """A port that leads to another: it can be cut (connections end) or go silent (they stay, and nothing passes)."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._passes = asyncio.Event()
        self._passes.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._server.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    def silence(self) -> None:
        self._passes.clear()

    def heal(self) -> None:
        self._passes.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(back)
        for one, other in ((reader, back), (there, writer)):
            task = asyncio.ensure_future(self._pass(one, other))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
