"""The sockets under `HttpClient`: every read ends at the deadline of its try, however slowly bytes come in, and a
connection goes only to an address that `addresses` allows.

A timeout of requests restarts at each packet, so a peer that sends one byte a second would hold a worker for hours.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import create_connection
from urllib3.util.ssl_ import create_urllib3_context

#: Host and port to the IP addresses that may be connected to, in order of preference; raises where none may.
Addresses = Callable[[str, int], Sequence[str]]

_try = threading.local()


@contextmanager
def until(deadline: float) -> Iterator[None]:
    """Reads of this thread inside the block end at `deadline` (of time.monotonic) with a TimeoutError."""
    _try.deadline = deadline
    try:
        yield
    finally:
        del _try.deadline


def _left_s() -> float:
    left = float(_try.deadline) - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Socket(socket.socket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left_s())
        return super().recv_into(*args, **kwargs)


class _TlsSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_left_s())
        return super().recv_into(*args, **kwargs)


def resolved(host: str, port: int) -> list[str]:
    """Every address of a name, as the resolver orders them; a name or a literal."""
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class DeadlineAdapter(HTTPAdapter):
    """A pool of such connections."""

    def __init__(self, addresses: Addresses, connections: int) -> None:
        self._pool_classes = _pool_classes(addresses)
        super().__init__(pool_connections=connections, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=_tls_context(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, ssl_context=_tls_context(), **kwargs)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager


def _tls_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.sslsocket_class = _TlsSocket
    return context


def _pool_classes(addresses: Addresses) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, addresses)

    class TlsConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, addresses)

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": Pool, "https": TlsPool}


def _connected(connection: HTTPConnection, addresses: Addresses) -> socket.socket:
    """What urllib3's `_new_conn` does, with our choice of address and one deadline over all of them."""
    failure = OSError("the name has no address")
    for host in addresses(connection.host, connection.port):
        timeout = connection.timeout if isinstance(connection.timeout, int | float) else _left_s()
        try:
            plain = create_connection(
                (host, connection.port), min(timeout, _left_s()), socket_options=connection.socket_options
            )
        except OSError as error:
            failure = error
            continue
        bounded = _Socket(fileno=plain.detach())
        bounded.settimeout(_left_s())
        return bounded
    raise failure
