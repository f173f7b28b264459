"""uvicorn's websocket connection with one more door: a ready-made frame goes straight to the socket. Used by `serve`.

The way through ASGI costs a frame more than the socket does (Channels' session wrapper, two state machines, copies of
the text). The door is an ASGI extension of the scope. It stays shut where compression was negotiated, and is shut while
the socket is full or closing: then the caller takes the way through ASGI, which waits or raises.

uvicorn stops reading until the application has taken a message, but frames that are none cost it a moment each and
nothing stops them: who sends too many is cut off.
"""

import asyncio
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame
from websockets.http11 import Request

from marketdata.live.admission import Allowance
from marketdata.live.door import Door
from marketdata.live.errors import Refusal

EXTENSION = "marketdata.frame"
LAST_S = 15.0  # what is still unsent so long after the end is not sent any more
FRAMES_PER_S, FRAMES_BURST = 20.0, 200  # pings, pongs and continuations of one client
#: 15 KiB for each browser less than uvicorn's own choice. A window of 2 KiB holds several quotes, whose keys repeat.
DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=11, client_max_window_bits=11, compress_settings={"memLevel": 4}
)


class FrameProtocol(WebSocketsSansIOProtocol):
    door: Door | None = None
    _last_moment: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._frames = Allowance(FRAMES_PER_S, FRAMES_BURST, self.loop.time)
        if self.conn.available_extensions:
            self.conn.available_extensions = [DEFLATE]

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not self.close_sent:  # not refused
            self.door = Door(self.transport.write, self.transport.get_write_buffer_size)
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self.door

    def start_keepalive(self) -> None:
        """Called when the handshake is over."""
        super().start_keepalive()
        self._open()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._open()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._shut()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated and (refusal := self.conn.data_to_send()):
            self.transport.write(b"".join(refusal))  # of a handshake that cannot be read: uvicorn forgets it
            self.transport.close()
        if self.transport.is_closing():  # the client said goodbye, or what is not the protocol
            self._shut()

    def eof_received(self) -> None:
        """The client says no more: the socket closes when what waits is sent; the application need not wait for it."""
        if self.handshake_complete:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self._shut()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._shut()
        if self._last_moment is not None:
            self._last_moment.cancel()

    def shutdown(self) -> None:
        super().shutdown()
        self._shut()

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.close_sent:
            self._shut()

    async def run_asgi(self) -> None:
        """uvicorn closes the socket once what waits is sent, which is never where the client reads nothing."""
        await super().run_asgi()
        if not self.writable.is_set():
            self.transport.abort()
        elif not self.disconnected:
            self._last_moment = self.loop.call_later(LAST_S, self.transport.abort)

    def handle_ping(self) -> None:
        """Who reads nothing gets no pongs: they would wait here without a bound."""
        if self._may_go_on() and self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def handle_pong(self, event: Frame) -> None:
        if self._may_go_on():
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        if self._may_go_on():
            super().handle_cont(event)

    def _may_go_on(self) -> bool:
        """After a frame that is no message."""
        try:
            self._frames.take()
        except Refusal:
            self.transport.abort()
            return False
        return True

    def send_receive_event_to_app(self) -> None:
        """A text that is none counts as binary, which the application refuses with a number."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.curr_msg_data_type = "bytes"
        super().send_receive_event_to_app()

    def _open(self) -> None:
        if self.door is not None and not (self.conn.extensions or self.close_sent or self.transport.is_closing()):
            self.door.is_open = True

    def _shut(self) -> None:
        if self.door is not None:
            self.door.shut()


def door_of(scope: dict[str, Any]) -> Door | None:
    """The door of this connection; None where its server has none."""
    return (scope.get("extensions") or {}).get(EXTENSION)
