"""A browser of the live protocol inside the test's event loop: Channels' communicator, and what was received so far."""

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from channels.testing import WebsocketCommunicator

from marketdata.live.consumers import LiveConsumer
from tests.live.schema import checked

DEADLINE_S = 20.0  # only guards against a hang


class Browser:
    """`quotes` and `bars` hold the newest value by topic, `messages` everything but `pings`, in order."""

    def __init__(self, address: str = "10.0.0.1", app: Any = None, headers: dict[str, str] | None = None) -> None:
        raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        self._socket = WebsocketCommunicator(app or LiveConsumer.as_asgi(), "/ws/v1/", headers=raw)
        self._socket.scope["client"] = (address, 1)
        self.messages: list[dict[str, Any]] = []
        self.pings: list[dict[str, Any]] = []
        self.quotes: dict[str, dict[str, Any]] = {}
        self.bars: dict[str, dict[str, Any]] = {}
        self.closed_with: int | None = None
        self.answers_pings = True

    async def __aenter__(self) -> Self:
        accepted, _ = await self._socket.connect(timeout=DEADLINE_S)
        assert accepted
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.closed_with is None and kind is None:
            await self._socket.disconnect(timeout=DEADLINE_S)

    async def say(self, **message: Any) -> None:
        await self._socket.send_json_to(message)

    async def say_text(self, text: str) -> None:
        await self._socket.send_to(text_data=text)

    async def say_bytes(self, data: bytes) -> None:
        await self._socket.send_to(bytes_data=data)

    async def hear(self) -> dict[str, Any]:
        """The next message, pings answered and left out."""
        while (message := await self.hear_any())["type"] == "ping":
            pass
        return message

    async def hear_any(self) -> dict[str, Any]:
        output = await self._socket.receive_output(timeout=DEADLINE_S)
        if output["type"] == "websocket.close":
            self.closed_with = output["code"]
            return output
        message = checked(json.loads(output["text"]))
        if message["type"] == "ping":
            self.pings.append(message)
            if self.answers_pings:
                await self.say(op="pong", n=message["n"])
            return message
        self.messages.append(message)
        if message["type"] in ("snapshot", "update"):
            self.quotes.update((quote["s"], quote) for quote in message["quotes"])
            self.bars.update((f"{bar['s']}@{bar['i']}", bar) for bar in message["bars"])
        return message

    async def hear_type(self, type: str) -> dict[str, Any]:
        """The next message of that type; others before it are taken in."""
        while (message := await self.hear())["type"] != type:
            assert message["type"] != "websocket.close", message
        return message

    async def until(self, happened: Callable[["Browser"], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not happened(self):
                await self.hear_any()

    def last(self) -> dict[str, float]:
        return {symbol: quote["last"] for symbol, quote in self.quotes.items()}


async def refusal(browser: Browser) -> tuple[int, str, bool]:
    """Code, reason and whether to reconnect, of error, bye and close, which must agree."""
    error, bye, close = await browser.hear_type("error"), await browser.hear(), await browser.hear()
    assert (error["code"], error["message"]) == (bye["code"], bye["reason"]) == (close["code"], close["reason"])
    return bye["code"], bye["reason"], bye["reconnect"]


async def eventually(holds: Callable[[], bool]) -> None:
    """Asks in a thread until it holds; for what announces itself by no message."""
    async with asyncio.timeout(DEADLINE_S):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110  another process's state has no event
            await asyncio.sleep(0.01)
