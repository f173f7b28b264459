"""A websocket server on loopback that does what a test's function says; for what the simulator would never send."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve


@contextmanager
def serving(handler: Callable[[ServerConnection], None], certificate: tuple[str, str] | None = None) -> Iterator[str]:
    """The URL. A handler ends when its client leaves."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)

    def handle(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed, OSError):
            handler(socket)

    server: Server = serve(handle, "127.0.0.1", 0, ssl=context, compression=None, max_size=None)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'wss' if certificate else 'ws'}://127.0.0.1:{server.socket.getsockname()[1]}/socket.io/websocket"
    finally:
        server.shutdown()
        thread.join()


def until_left(socket: ServerConnection) -> None:
    """Reads, and says nothing, until the client leaves."""
    for _ in socket:
        pass
