"""The socket: opens a websocket to TradingView, sends and receives texts, and turns every driver error into one of the
three kinds. The only module that knows websocket-client. Used by `provider` and `websocket`, one thread at a time.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit

import websocket

from infrastructure.errors import SAMPLE_LIMIT, InfrastructureError, Malformed, Rejected, Throttled, Unavailable
from infrastructure.http_client import retry_after_s
from infrastructure.tradingview.config import TradingViewConfig

#: Of one message. 20,000 bars are 2 MB; a frame may announce 2**63 bytes.
MAX_MESSAGE_BYTES = 64 * 2**20
READ_BYTES = 256 * 2**10
CONNECT_S = 10.0
CLOSE_S = 1.0

#: All that websocket-client and the sockets raise. (An SSLError is an OSError, a UnicodeError a ValueError.)
DRIVER_ERRORS = (websocket.WebSocketException, OSError, ValueError)


class _Socket:
    """A socket whose every call ends by one moment, however many bytes drip in, and that reads a bounded message.

    It reads ahead: the driver asks for an answer's head byte by byte and for a message in small pieces, and each call
    to the system would cost more than its bytes, most of all among many threads.
    """

    def __init__(self, plain: socket.socket) -> None:
        self.until = 0.0  # monotonic seconds
        self.received = 0  # bytes of the present message
        self._socket = plain
        self._room = memoryview(bytearray(READ_BYTES))
        self._ahead = self._room[:0]

    def recv(self, size: int) -> bytes:
        if not self._ahead:
            self._socket.settimeout(max(self.until - time.monotonic(), 0.001))
            self._ahead = self._room[: self._socket.recv_into(self._room)]
        data, self._ahead = bytes(self._ahead[:size]), self._ahead[size:]
        self.received += len(data)
        if self.received > MAX_MESSAGE_BYTES:
            raise websocket.WebSocketPayloadException(f"a message of more than {MAX_MESSAGE_BYTES} bytes")
        return data

    def send(self, data: bytes) -> int:
        self._socket.settimeout(max(self.until - time.monotonic(), 0.001))
        return self._socket.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Connection:
    """Made by `open`. After an error it is of no more use but to be closed."""

    def __init__(self, host: str, driver: websocket.WebSocket, sock: _Socket) -> None:
        self._host = host
        self._driver = driver
        self._socket = sock

    @classmethod
    def open(cls, config: TradingViewConfig) -> Self:
        """Proxies of the environment are not used, redirects not followed."""
        parts = urlsplit(config.websocket_url)
        host, secure = parts.hostname or "", parts.scheme == "wss"
        limit_s = min(CONNECT_S, config.timeout_s)
        driver = websocket.WebSocket(skip_utf8_validation=True, enable_multithread=False)  # `receive` validates
        plain: socket.socket | None = None
        try:
            until = time.monotonic() + limit_s
            plain = socket.create_connection((host, parts.port or (443 if secure else 80)), limit_s)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if secure:
                plain = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            sock = _Socket(plain)
            sock.until = until
            driver.connect(config.websocket_url, timeout=limit_s, socket=sock, origin=config.origin, redirect_limit=0)
        except DRIVER_ERRORS as error:
            if plain is not None:
                plain.close()
            raise translated(error, host) from error
        return cls(host, driver, sock)

    def send(self, text: str, timeout_s: float) -> None:
        self._socket.until = time.monotonic() + timeout_s
        try:
            self._driver.send(text)
        except DRIVER_ERRORS as error:
            raise translated(error, self._host) from error

    def receive(self, timeout_s: float) -> str | None:
        """The next text; None where none is complete in time (what came of it is kept)."""
        self._socket.until = time.monotonic() + timeout_s
        try:
            opcode, data = self._driver.recv_data()
            self._socket.received = 0
            if opcode == websocket.ABNF.OPCODE_TEXT:
                return str(data, "utf-8")
        except websocket.WebSocketTimeoutException:
            return None
        except DRIVER_ERRORS as error:
            raise translated(error, self._host) from error
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise Unavailable(f"{self._host} closed the connection{_why(data)}.")
        raise Malformed(f"{self._host} sent a binary message.", repr(data[:SAMPLE_LIMIT]))

    def close(self) -> None:
        self._socket.until = time.monotonic() + CLOSE_S
        try:
            with suppress(*DRIVER_ERRORS):  # the goodbye is a courtesy: a connection that is dead already gets none
                if self._driver.connected:
                    self._driver.send_close()
        finally:
            self._driver.shutdown()

    def abort(self) -> None:
        """From another thread: wakes the one that waits in `receive` or `send`, with an error."""
        self._driver.abort()


def translated(error: Exception, host: str) -> InfrastructureError:
    """The one of the three kinds that a driver's error is."""
    match error:
        case websocket.WebSocketBadStatusException():
            return _bad_status(error, host)
        case websocket.WebSocketTimeoutException() | TimeoutError():
            return Unavailable(f"{host} did not answer in time.")
        case websocket.WebSocketProtocolException() | websocket.WebSocketPayloadException():
            return Malformed(f"{host} broke the websocket protocol: {error}.")
        case (
            websocket.WebSocketConnectionClosedException()
            | websocket.WebSocketAddressException()
            | websocket.WebSocketProxyException()
        ):
            return Unavailable(f"The connection to {host} was lost: {error}")
        case websocket.WebSocketException():
            return Malformed(f"{host} does not speak websocket: {error}")
        case ssl.SSLCertVerificationError():
            return Rejected(f"{host} has no trusted certificate: {error}")
        case BrokenPipeError() | ConnectionResetError() | ConnectionAbortedError():
            return Unavailable(f"The connection to {host} was lost: {error.strerror or error}.")
        case OSError():
            return Unavailable(f"{host} cannot be reached: {error.strerror or error}.")
    return Malformed(f"{host} does not speak websocket: {error}")  # ValueError: of an answer whose head is none


def _bad_status(error: websocket.WebSocketBadStatusException, host: str) -> InfrastructureError:
    status = error.status_code
    if status == HTTPStatus.FORBIDDEN:
        return Rejected(f"{host} answered 403: it refuses the TRADINGVIEW_ORIGIN, or this machine's address.")
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        wait = retry_after_s(str((error.resp_headers or {}).get("retry-after", "")))
        kind = Throttled if status == HTTPStatus.TOO_MANY_REQUESTS else Unavailable
        return kind(f"{host} answered {status}.", wait)
    if status < HTTPStatus.MULTIPLE_CHOICES:
        body = (error.resp_body or b"")[:SAMPLE_LIMIT].decode("utf-8", "replace")
        return Malformed(f"{host} answered {status} with a page instead of a websocket.", body)
    return Rejected(f"{host} answered {status}.")


def _why(close: Any) -> str:
    """Of a close frame: its code, and its reason in words."""
    data = bytes(close)
    if len(data) < 2:
        return ""
    reason = data[2:].decode("utf-8", "replace")
    return f" ({int.from_bytes(data[:2], 'big')}{' ' + reason if reason else ''})"
