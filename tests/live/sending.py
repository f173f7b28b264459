"""A browser's connection with a socket that a test fills and empties, and the frames of a flush."""

import asyncio
import json
from typing import Any

from marketdata.live.connection import Connection
from marketdata.live.frames import Frames
from marketdata.live.latest import Latest


class Client:
    """An ASGI send whose door can be shut, like that of a server whose socket is full."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.lost: Exception | None = None
        self.cut = 0
        self.connection = Connection(self.send, self._cut, 0.0, lambda: 42.0)

    async def send(self, message: dict[str, Any]) -> None:
        await self.open.wait()
        if self.lost:
            raise self.lost
        self.got.append(message)

    def _cut(self) -> None:
        self.cut += 1

    async def read(self) -> list[Any]:
        """Everything that was sent so far, texts decoded."""
        for _ in range(5):
            await asyncio.sleep(0)
        got, self.got = self.got, []
        return [json.loads(one["text"]) if one["type"] == "websocket.send" else one for one in got]


def changed(
    new_quotes: set[str],
    new_bars: set[str],
    quotes: dict[str, int] | None = None,
    bars: dict[str, int] | None = None,
    log: str = "",
) -> Frames:
    """Of a flush at which these topics are new and these values known."""
    latest = Latest()
    latest.quotes = {topic: str(value) for topic, value in (quotes or {}).items()}
    latest.bars = {topic: str(value) for topic, value in (bars or {}).items()}
    return Frames(latest, new_quotes, new_bars, log)


def frame(type: str, quotes: list[int], bars: list[int]) -> dict[str, Any]:
    return {"type": type, "quotes": quotes, "bars": bars}
