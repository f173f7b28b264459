"""The feed and the web server as processes of their own, and a client that speaks the live protocol over a socket."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from django.conf import settings
from django.db import connections
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from tests.live.schema import checked

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0  # only guards against a hang: starting a process takes seconds on a busy machine


class ManagePy:
    """`manage.py <command> <arguments>` on this test's stores; its output is in `log`."""

    def __init__(self, folder: Path, command: str, *arguments: str, **environment: str) -> None:
        self.log = folder / f"{command}-{len(list(folder.iterdir()))}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), command, *arguments],
                env={
                    **os.environ,
                    "MONGODB_NAME": str(connections["default"].settings_dict["NAME"]),
                    "REDIS_URL": settings.REDIS_URL,
                    "REDIS_DB": str(settings.REDIS_DB),
                    "ANONYMOUS_VIEWING": "on",
                    **environment,
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code; a process that does not end in time is a failure."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            sys.stderr.write(f"--- {self.log.name}\n{self.log.read_text()[-4000:]}\n")
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Client:
    """Connects again by itself, subscribes again, answers pings; keeps the newest value of each topic."""

    def __init__(self, port: int, quotes: list[str], bars: list[str]) -> None:
        self._url = f"ws://127.0.0.1:{port}/ws/v1/"
        self._origin: Any = f"http://127.0.0.1:{port}"
        self._wish = {"op": "subscribe", "quotes": quotes, "bars": bars}
        self.quotes: dict[str, dict[str, Any]] = {}
        self.bars: dict[str, dict[str, Any]] = {}
        self.closed: list[dict[str, Any]] = []
        self.feeds: list[dict[str, Any]] = []
        self.types: list[str] = []
        self.connections = 0
        self.codes: list[int | None] = []
        self._changed = asyncio.Condition()
        self._task = asyncio.ensure_future(self._run())

    async def until(self, holds: Callable[["Client"], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: holds(self) or self._task.done())
        if self._task.done():
            await self._task

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with suppress(OSError, InvalidMessage, InvalidStatus):  # the server is not there (yet): try again
                async with connect(self._url, origin=self._origin, compression=None) as socket:
                    self.connections += 1
                    await self._listen(socket)
            await asyncio.sleep(0.05)

    async def _listen(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            await socket.send(json.dumps(self._wish))
        with suppress(ConnectionClosed):  # what was said before the end is still there to read
            await self._take_all(socket)
        async with self._changed:
            self.codes.append(socket.close_code)
            self._changed.notify_all()

    async def _take_all(self, socket: ClientConnection) -> None:
        async for text in socket:
            message = checked(json.loads(text))
            if message["type"] == "ping":
                await socket.send(json.dumps({"op": "pong", "n": message["n"]}))
            async with self._changed:
                self._take(message)
                self._changed.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        self.types.append(message["type"])
        if message["type"] in ("hello", "status"):
            self.feeds.append(message["feed"])
        if message["type"] in ("snapshot", "update"):
            self.quotes.update((quote["s"], quote) for quote in message["quotes"])
            for bar in message["bars"]:
                self.bars[f"{bar['s']}@{bar['i']}"] = bar
                if bar["closed"]:
                    self.closed.append(bar)
