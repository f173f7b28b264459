"""One browser's websocket: admits it, answers its operations, and leaves the sending to the hub.

The ORM is only asked in threads of its own, so `dispatch` does without Channels' thread hop per message; values never
pass through it.
"""

import asyncio
import time
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from msgspec import UNSET, UnsetType

from marketdata.live import protocol
from marketdata.live.access import known_by, let_in
from marketdata.live.admission import Allowance, address_of, grant
from marketdata.live.connection import Connection
from marketdata.live.errors import Code, Refusal
from marketdata.live.process import Live, of_this_loop
from marketdata.live.uvicorn_protocol import door_of
from marketdata.services import attempts
from marketdata.services.holders import Holder

MESSAGES_PER_S = 20.0
MESSAGES_BURST = 100
AUTH_TIMEOUT_S = 10.0
REFUSED_ITEMS = 1000  # so many are refused with a reason each, more than that as a whole: answers must stay small
NOT_LET_IN = "Log in to watch live data, or send a ticket or key first."


class LiveConsumer(AsyncConsumer):
    live: Live
    connection: Connection
    address: str | None = None  # set while it counts among the open connections of the address
    account: str | None = None  # the same of an account
    admitted = False
    deadline: asyncio.TimerHandle | None = None  # until which a ticket or key must have come

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """As its parent, but for the channel layer: there is none to listen to, so a message costs no task."""
        self.scope, self.base_send = scope, send
        self._task = asyncio.current_task()
        self._is_cut_off = False
        self.live = of_this_loop()
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            pass
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
        if self.account is not None:
            self.live.accounts.leave(self.account)
            self.account = None
        if self.deadline is not None:
            self.deadline.cancel()
        if hasattr(self, "connection"):
            self.live.access.leave(self.connection)
            self.live.hub.remove(self.connection)

    async def _connect(self) -> None:
        """A refused client is accepted first: a browser cannot see the status of a refused handshake."""
        await self.base_send({"type": "websocket.accept"})
        clock = time.monotonic
        self.allowance = Allowance(MESSAGES_PER_S, MESSAGES_BURST, clock)
        self.connection = Connection(self.base_send, self._cut_off, clock(), clock, door_of(self.scope))
        self.live.hub.start()
        self.live.hub.arrive(self.connection)
        try:
            address = address_of(self.scope)
            self.live.addresses.enter(address)
            self.address = address
            holder = await known_by(self.scope.get("session"), self.live.sessions)
            if holder is not None or self.live.options.anonymous_viewing:
                await self._admit(holder)
            else:
                self.deadline = asyncio.get_running_loop().call_later(AUTH_TIMEOUT_S, self._nobody_came)
        except Refusal as refusal:
            self.connection.close(refusal.code, refusal.message)

    async def _admit(self, holder: Holder | None) -> None:
        """None: nobody in particular."""
        if holder is not None:
            account = str(holder.user.pk)
            self.live.accounts.enter(account)
            self.account = account
            if not self.live.options.anonymous_viewing:
                self.live.access.enter(self.connection, holder)
        self.admitted = True
        await self.live.hub.wait_ready()
        self.connection.post(protocol.encode(self._hello()))
        self.live.hub.add(self.connection)

    def _nobody_came(self) -> None:
        if not self.admitted:
            why = f"Log in, or send a ticket or key within {AUTH_TIMEOUT_S:g} s."
            self.connection.close(Code.NOT_ALLOWED, why)

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
                connections_per_account=options.max_connections_per_account,
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
            elif not self.admitted:
                self.connection.close(Code.NOT_ALLOWED, NOT_LET_IN)
            else:
                self.connection.post(protocol.encode(protocol.Error(refusal.code, refusal.message, refusal.id)))

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
        if isinstance(operation, protocol.Auth):
            if not self.admitted:  # else it may watch already
                if self.deadline is not None:  # that was for the client: from now on it waits for us
                    self.deadline.cancel()
                await self._admit(await let_in(operation, self.address or "", attempts.of_this_process))
            return
        if not self.admitted:
            raise Refusal(Code.NOT_ALLOWED, NOT_LET_IN)
        if isinstance(operation, protocol.Pong):
            return  # that it was heard is all
        if isinstance(operation, protocol.Unsubscribe):
            self.live.hub.unwatch(self.connection, operation.quotes, operation.bars)
            self._answer(operation.id, [])
        else:
            await self._watch(operation, reset=isinstance(operation, protocol.Reset))

    async def _watch(self, operation: protocol.Subscribe | protocol.Reset, reset: bool) -> None:
        """Answers with the whole set, before the snapshot of what was granted."""
        hub, mine, limit = self.live.hub, self.connection, self.live.options.max_items
        if len(operation.quotes) + len(operation.bars) > limit + REFUSED_ITEMS:
            raise Refusal(Code.TOO_MANY_ITEMS, f"One connection may watch {limit} items.", operation.id)
        symbols = {*operation.quotes, *(protocol.split_topic(topic)[0] for topic in operation.bars)}
        known = await self.live.symbols.among(symbols)
        if reset:
            hub.unwatch(mine, mine.quotes.difference(operation.quotes), mine.bars.difference(operation.bars))
        held = mine.quotes | mine.bars
        granted = grant(operation.quotes, operation.bars, known, held, limit)
        recovered = hub.watch(mine, granted.quotes, granted.bars, operation.since)
        self._answer(operation.id, granted.refused, recovered if operation.since else UNSET)

    def _answer(
        self, id: protocol.RequestId, refused: list[protocol.Refused], recovered: bool | UnsetType = UNSET
    ) -> None:
        mine = self.connection
        answer = protocol.Subscribed(id, sorted(mine.quotes), sorted(mine.bars), refused, recovered)
        mine.post(protocol.encode(answer))
