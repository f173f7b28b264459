"""One browser's websocket: admits it, answers its operations, and leaves the sending to the hub.

Nothing here touches the ORM, so `dispatch` does without Channels' thread hop per message; values never pass through it.
"""

import asyncio
import time
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from msgspec import UNSET, UnsetType

from marketdata.live import protocol
from marketdata.live.admission import Allowance, address_of, check_viewer, grant
from marketdata.live.connection import Connection
from marketdata.live.errors import Code, Refusal
from marketdata.live.process import Live, of_this_loop
from marketdata.live.uvicorn_protocol import write_frame_of

MESSAGES_PER_S = 20.0
MESSAGES_BURST = 100


class LiveConsumer(AsyncConsumer):
    live: Live
    connection: Connection
    address: str | None = None  # set while it counts among the open connections of the address

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self._task = asyncio.current_task()
        self._is_cut_off = False
        self.live = of_this_loop()
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            if not self._is_cut_off or self._task is None:
                raise
            self._task.uncancel()
        finally:
            self._leave()

    async def dispatch(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "websocket.receive":
                await self._receive(message)
            case "websocket.connect":
                await self._connect()
            case "websocket.disconnect":
                raise StopConsumer

    def _cut_off(self) -> None:
        """The client reads nothing: the application ends, and the server drops the socket."""
        self._is_cut_off = True
        if self._task is not None:
            self._task.cancel()

    def _leave(self) -> None:
        if self.address is not None:
            self.live.addresses.leave(self.address)
            self.address = None
        if hasattr(self, "connection"):
            self.live.access.leave(self.connection)
            self.live.hub.remove(self.connection)

    async def _connect(self) -> None:
        """A refused client is accepted first: a browser cannot see the status of a refused handshake."""
        await self.base_send({"type": "websocket.accept"})
        clock = time.monotonic
        self.allowance = Allowance(MESSAGES_PER_S, MESSAGES_BURST, clock)
        self.connection = Connection(self.base_send, self._cut_off, clock(), clock, write_frame_of(self.scope))
        try:
            check_viewer(self.scope, self.live.options.anonymous_viewing)
            address = address_of(self.scope)
            self.live.addresses.enter(address)
            self.address = address
        except Refusal as refusal:
            self.connection.close(refusal.code, refusal.message)
            return
        if not self.live.options.anonymous_viewing:
            session_s = self.scope["session"].get_expiry_age()
            self.live.access.enter(self.connection, self.scope["user"], session_s)
        self.live.hub.start()
        await self.live.hub.wait_ready()
        self.connection.post(protocol.encode(self._hello()))
        self.live.hub.add(self.connection)

    def _hello(self) -> protocol.Hello:
        options, hub = self.live.options, self.live.hub
        return protocol.Hello(
            protocol=protocol.PROTOCOL,
            epoch=hub.epoch,
            server_ms=time.time_ns() // 1_000_000,
            heartbeat_s=options.heartbeat_s,
            flush_ms=options.flush_ms,
            simulated=options.simulated,
            limits=protocol.Limits(
                symbols=options.max_items,
                message_bytes=protocol.MAX_MESSAGE_BYTES,
                messages_per_s=MESSAGES_PER_S,
                connections_per_address=options.max_connections_per_address,
            ),
            feed=hub.feed,
            log=hub.log.position or UNSET,
        )

    async def _receive(self, message: dict[str, Any]) -> None:
        if self.connection.over:
            return
        self.connection.heard_at = time.monotonic()
        try:
            self.allowance.take()
            await self._perform(protocol.parse(self._text(message)))
        except Refusal as refusal:
            if refusal.code.closes:
                self.connection.close(refusal.code, refusal.message)
            else:
                self.connection.post(protocol.encode(protocol.Error(refusal.code, refusal.message)))

    @staticmethod
    def _text(message: dict[str, Any]) -> str:
        text: str | None = message.get("text")
        if text is None:
            raise Refusal(Code.BINARY, "Messages are JSON texts, not binary.")
        limit = protocol.MAX_MESSAGE_BYTES
        if len(text) > limit or len(text.encode(errors="replace")) > limit:
            raise Refusal(Code.MESSAGE_TOO_LARGE, f"A message may have {limit} bytes.")
        return text

    async def _perform(self, operation: protocol.Operation) -> None:
        if isinstance(operation, protocol.Pong):
            return  # that it was heard is all
        if isinstance(operation, protocol.Unsubscribe):
            self.live.hub.unwatch(self.connection, operation.quotes, operation.bars)
            self._answer(operation.id, [])
        else:
            await self._watch(operation, reset=isinstance(operation, protocol.Reset))

    async def _watch(self, operation: protocol.Subscribe | protocol.Reset, reset: bool) -> None:
        """Answers with the whole set, before the snapshot of what was granted."""
        hub, mine = self.live.hub, self.connection
        symbols = {*operation.quotes, *(protocol.split_topic(topic)[0] for topic in operation.bars)}
        known = await self.live.symbols.among(symbols)
        if reset:
            hub.unwatch(mine, mine.quotes.difference(operation.quotes), mine.bars.difference(operation.bars))
        held = mine.quotes | mine.bars
        granted = grant(operation.quotes, operation.bars, known, held, self.live.options.max_items)
        recovered = hub.watch(mine, granted.quotes, granted.bars, operation.since)
        self._answer(operation.id, granted.refused, recovered if operation.since else UNSET)

    def _answer(
        self, id: protocol.RequestId, refused: list[protocol.Refused], recovered: bool | UnsetType = UNSET
    ) -> None:
        mine = self.connection
        answer = protocol.Subscribed(id, sorted(mine.quotes), sorted(mine.bars), refused, recovered)
        mine.post(protocol.encode(answer))
