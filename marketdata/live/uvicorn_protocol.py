"""uvicorn's websocket connection with one more door: a ready-made frame goes straight to the socket. Used by `serve`.

The way through ASGI costs a frame more than the socket does (Channels' session wrapper, two state machines, copies of
the text). The door is an ASGI extension of the scope; it is not there where compression was negotiated, and shut while
the socket is full or closing: then the caller takes the way through ASGI, which waits or raises.
"""

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request

EXTENSION = "marketdata.frame"
#: 15 KiB for each browser less than uvicorn's own choice. A window of 2 KiB holds several quotes, whose keys repeat.
DEFLATE = ServerPerMessageDeflateFactory(
    server_max_window_bits=11, client_max_window_bits=11, compress_settings={"memLevel": 4}
)

#: Takes one whole frame, or says False and has taken nothing.
WriteFrame = Callable[[bytes], bool]


class FrameProtocol(WebSocketsSansIOProtocol):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.conn.available_extensions:
            self.conn.available_extensions = [DEFLATE]

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if not (self.close_sent or self.conn.extensions):  # refused; compressed
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self.write_frame

    async def run_asgi(self) -> None:
        """uvicorn closes the socket once what waits is sent, which is never where the client reads nothing."""
        await super().run_asgi()
        if not self.writable.is_set():
            self.transport.abort()

    def write_frame(self, frame: bytes) -> bool:
        if not self.writable.is_set() or not self.handshake_complete or self.close_sent or self.transport.is_closing():
            return False
        self.transport.write(frame)
        return True


def write_frame_of(scope: dict[str, Any]) -> WriteFrame | None:
    """The door of this connection; None where its server has none."""
    return (scope.get("extensions") or {}).get(EXTENSION)
