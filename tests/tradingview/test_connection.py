import inspect
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import websocket._exceptions as driver_errors
from websocket import WebSocketBadStatusException, WebSocketException
from websockets.sync.server import ServerConnection

from infrastructure.errors import InfrastructureError, Malformed, Rejected, Throttled, Unavailable
from infrastructure.tradingview.config import TradingViewConfig
from infrastructure.tradingview.connection import MAX_MESSAGE_BYTES, Connection, translated
from tests.loopback import Answer, Loopback, page
from tests.servers import free_port
from tests.tls import certificate_for
from tests.tradingview.wire_server import serving, until_left

CONFIG = TradingViewConfig("ws://127.0.0.1:1/", "", "", "https://www.tradingview.com", timeout_s=5)
DEADLINE_S = 20  # against a hang


def opened(url: str) -> Connection:
    return Connection.open(replace(CONFIG, websocket_url=url))


def refused(url: str) -> InfrastructureError:
    with pytest.raises(InfrastructureError) as caught:
        opened(url)
    return caught.value


def first_answer(handler: Callable[[ServerConnection], None]) -> Any:
    """What the client makes of it: a text, or an error."""
    with serving(handler) as url:
        connection = opened(url)
        try:
            return connection.receive(DEADLINE_S)
        except InfrastructureError as error:
            return error
        finally:
            connection.close()


KINDS = {
    "WebSocketException": Malformed,
    "WebSocketProtocolException": Malformed,
    "WebSocketPayloadException": Malformed,
    "WebSocketConnectionClosedException": Unavailable,
    "WebSocketTimeoutException": Unavailable,
    "WebSocketProxyException": Unavailable,
    "WebSocketAddressException": Unavailable,
    "WebSocketBadStatusException": Rejected,
}


def test_every_error_of_the_driver_has_its_kind() -> None:
    found = {
        name: type(translated(cls("x", 418) if cls is WebSocketBadStatusException else cls("x"), "host"))
        for name, cls in inspect.getmembers(driver_errors, inspect.isclass)
        if issubclass(cls, WebSocketException)
    }
    assert found == KINDS


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError("timed out"), Unavailable),
        (ConnectionResetError(104, "Connection reset by peer"), Unavailable),
        (socket.gaierror(-2, "Name or service not known"), Unavailable),
        (ssl.SSLError(1, "wrong version number"), Unavailable),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), Rejected),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), Malformed),
        (ValueError("invalid literal for int()"), Malformed),
    ],
)
def test_the_systems_errors_have_their_kind_too(error: Exception, kind: type[InfrastructureError]) -> None:
    assert type(translated(error, "host")) is kind


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        (
            Answer(403),
            Rejected,
            "127.0.0.1 answered 403: it refuses the TRADINGVIEW_ORIGIN, or this machine's address.",
        ),
        (Answer(404), Rejected, "127.0.0.1 answered 404."),
        (Answer(429), Throttled, "127.0.0.1 answered 429."),
        (Answer(503), Unavailable, "127.0.0.1 answered 503."),
        (page(), Malformed, "127.0.0.1 answered 200 with a page instead of a websocket."),
        (Answer(302, headers={"Location": "http://127.0.0.1:1/"}), Malformed, "127.0.0.1 does not speak websocket"),
        (Answer(raw=lambda file: file.write(b"SSH-2.0-x\r\n")), Malformed, "127.0.0.1 does not speak websocket"),
        (Answer(raw=lambda file: None), Unavailable, "The connection to 127.0.0.1 was lost"),
    ],
)
def test_a_handshake_that_fails_says_why(answer: Answer, kind: type[InfrastructureError], sentence: str) -> None:
    with Loopback(answer) as server:
        error = refused(server.url.replace("http", "ws"))
    assert (type(error), str(error)[: len(sentence)]) == (kind, sentence)


def test_a_page_instead_of_a_websocket_is_the_sample() -> None:
    with Loopback(page()) as server:
        error = refused(server.url.replace("http", "ws"))
    assert isinstance(error, Malformed)
    assert error.sample == "<!DOCTYPE html><title>Just a moment</title>"


def test_too_many_requests_say_when_to_come_back() -> None:
    with Loopback(Answer(429, headers={"Retry-After": "7"})) as server:
        error = refused(server.url.replace("http", "ws"))
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 7


def test_the_handshake_carries_our_origin_and_no_secret() -> None:
    config = replace(CONFIG, auth_token="a-token", session_cookie="a-cookie")
    with Loopback(Answer(404)) as server, pytest.raises(Rejected):
        Connection.open(replace(config, websocket_url=server.url.replace("http", "ws") + "/socket.io/websocket"))
    (seen,) = server.seen
    assert (seen.path, seen.headers["Origin"]) == ("/socket.io/websocket", "https://www.tradingview.com")
    assert "a-token" not in str(seen)
    assert "a-cookie" not in str(seen)


def test_a_port_where_nobody_listens_is_unavailable() -> None:
    error = refused(f"ws://127.0.0.1:{free_port()}/")
    assert (type(error), str(error)) == (Unavailable, "127.0.0.1 cannot be reached: Connection refused.")


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with serving(lambda peer: peer.send("through")) as url:
        connection = opened(url)
        assert connection.receive(DEADLINE_S) == "through"
        connection.close()


def test_an_unknown_certificate_is_rejected(tmp_path: Path) -> None:
    with serving(until_left, certificate_for("127.0.0.1", tmp_path)) as url:
        error = refused(url)
    assert isinstance(error, Rejected)
    assert "no trusted certificate" in str(error)


def test_a_trusted_certificate_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = certificate_for("127.0.0.1", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    with serving(lambda peer: peer.send("sealed"), certificate) as url:
        connection = opened(url)
        assert connection.receive(DEADLINE_S) == "sealed"
        connection.close()


def test_texts_arrive_whole_and_in_order() -> None:
    large = "삼성📈" * 500_000

    def handler(peer: ServerConnection) -> None:
        peer.send(large)
        peer.send(f"heard {peer.recv()}")

    with serving(handler) as url:
        connection = opened(url)
        connection.send("📈", DEADLINE_S)
        assert connection.receive(DEADLINE_S) == large
        assert connection.receive(DEADLINE_S) == "heard 📈"
        connection.close()


def test_a_text_in_fragments_is_one_text() -> None:
    assert first_answer(lambda peer: peer.send(["one ", "two"])) == "one two"


def test_what_dripped_in_is_kept_for_the_next_call() -> None:
    read_half = threading.Event()

    def handler(peer: ServerConnection) -> None:
        frame = b"\x81\x7e\x00\xc8" + b"x" * 200
        peer.socket.sendall(frame[:100])
        read_half.wait(DEADLINE_S)
        peer.socket.sendall(frame[100:])
        until_left(peer)

    with serving(handler) as url:
        connection = opened(url)
        assert connection.receive(0.1) is None
        read_half.set()
        assert connection.receive(DEADLINE_S) == "x" * 200
        connection.close()


def test_a_drip_does_not_hold_a_call_beyond_its_time() -> None:
    left = threading.Event()

    def handler(peer: ServerConnection) -> None:
        peer.socket.sendall(b"\x81\x7f" + (10**9).to_bytes(8, "big"))
        while not left.wait(0.01):
            peer.socket.sendall(b"x")

    with serving(handler) as url:
        connection = opened(url)
        assert connection.receive(0.2) is None
        left.set()
        connection.close()


def test_silence_is_no_text() -> None:
    with serving(until_left) as url:
        connection = opened(url)
        assert connection.receive(0.05) is None
        connection.close()


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [
        (lambda peer: peer.close(1001, "going away"), "127.0.0.1 closed the connection (1001 going away)."),
        (lambda peer: peer.close(1000), "127.0.0.1 closed the connection (1000)."),
        (lambda peer: peer.socket.shutdown(socket.SHUT_RDWR), "The connection to 127.0.0.1 was lost"),
        (lambda peer: peer.socket.sendall(b"\x88\x00"), "127.0.0.1 closed the connection."),
    ],
)
def test_an_end_says_how_it_came(handler: Callable[[ServerConnection], None], sentence: str) -> None:
    error = first_answer(handler)
    assert (type(error), str(error)[: len(sentence)]) == (Unavailable, sentence)


@pytest.mark.parametrize(
    "handler",
    [
        lambda peer: peer.send(b"\x00\x01"),
        lambda peer: peer.send(b"\xff\xfe", text=True),
        lambda peer: peer.socket.sendall(b"\xf1\x01x"),  # reserved bits
        lambda peer: peer.send(b"x" * (MAX_MESSAGE_BYTES + 1), text=True),
    ],
    ids=["binary", "not utf-8", "reserved bits", "too large"],
)
def test_what_is_no_text_is_malformed(handler: Callable[[ServerConnection], None]) -> None:
    assert isinstance(first_answer(handler), Malformed)


def test_another_thread_can_wake_one_that_waits() -> None:
    heard = threading.Event()

    def handler(peer: ServerConnection) -> None:
        peer.recv()
        heard.set()
        until_left(peer)

    with serving(handler) as url:
        connection = opened(url)
        waker = threading.Thread(target=lambda: heard.wait(DEADLINE_S) and connection.abort())
        waker.start()
        connection.send("x", DEADLINE_S)
        with pytest.raises(Unavailable):
            connection.receive(DEADLINE_S)
        waker.join()
        connection.close()


def test_closing_says_goodbye_and_may_be_repeated() -> None:
    codes = []

    def handler(peer: ServerConnection) -> None:
        until_left(peer)
        codes.append(peer.close_code)

    with serving(handler) as url:
        connection = opened(url)
        connection.close()
        connection.close()
        with pytest.raises(Unavailable):
            connection.send("x", DEADLINE_S)
    assert codes == [1000]
