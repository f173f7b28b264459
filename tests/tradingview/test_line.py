import json
import socket
from typing import Any

import pytest
from websockets.sync.server import ServerConnection

from infrastructure.errors import InfrastructureError, Rejected, Unavailable
from infrastructure.tradingview import TradingViewConfig, frames
from infrastructure.tradingview.line import Line, Tap
from tests.tradingview.wire_server import serving, until_left

DEADLINE_S = 20  # against a hang


def said(name: str, *parameters: Any) -> str:
    return frames.encode(json.dumps({"m": name, "p": parameters}))


def opened(url: str, *tap: Tap) -> Line:
    return Line.open(TradingViewConfig(url, "", "", "https://www.tradingview.com", timeout_s=5), *tap)


def test_what_is_to_be_sent_goes_out_before_anything_is_awaited() -> None:
    heard: list[str | bytes] = []

    def handler(peer: ServerConnection) -> None:
        heard.extend((peer.recv(), peer.recv()))
        peer.send("~m~4~m~~h~1")
        heard.append(peer.recv())
        peer.send("~m~2~m~{}")
        until_left(peer)

    with serving(handler) as url:
        line = opened(url)
        text = line.receive(DEADLINE_S)
        assert text == "~m~4~m~~h~1"
        assert line.session.receive(text, 0) == []
        assert line.receive(DEADLINE_S) == "~m~2~m~{}"
        line.close()
    assert heard == [
        '~m~54~m~{"m":"set_auth_token","p":["unauthorized_user_token"]}',
        '~m~34~m~{"m":"set_locale","p":["en","US"]}',
        "~m~4~m~~h~1",
    ]


def test_a_tap_hears_what_happens() -> None:
    heard: list[tuple[str, str]] = []

    def handler(peer: ServerConnection) -> None:
        peer.recv(), peer.recv()
        peer.send("~m~4~m~~h~1")

    with serving(handler) as url:
        line = opened(url, lambda *happened: heard.append(happened))
        line.receive(DEADLINE_S)
        with pytest.raises(Unavailable):
            line.receive(DEADLINE_S)
        line.close()
    assert heard == [
        ("+", ""),
        (">", '~m~54~m~{"m":"set_auth_token","p":["unauthorized_user_token"]}'),
        (">", '~m~34~m~{"m":"set_locale","p":["en","US"]}'),
        ("<", "~m~4~m~~h~1"),
        ("-", ""),
    ]


@pytest.mark.parametrize(
    ("last_words", "kind", "sentence"),
    [
        ([said("protocol_error", "bad auth token")], Rejected, "TradingView refuses the TRADINGVIEW_AUTH_TOKEN"),
        ([said("protocol_error", "max sessions rate reached")], Unavailable, "TradingView wants fewer requests"),
        ([said("quote_completed", "qs", "A:B")], Unavailable, "The connection to 127.0.0.1 was lost"),
        ([], Unavailable, "The connection to 127.0.0.1 was lost"),
    ],
)
def test_a_server_that_closes_while_we_send_is_still_heard(
    last_words: list[str], kind: type[InfrastructureError], sentence: str
) -> None:
    def handler(peer: ServerConnection) -> None:
        peer.recv(), peer.recv()
        for text in last_words:
            peer.send(text)
        peer.socket.shutdown(socket.SHUT_RDWR)

    with serving(handler) as url:
        line = opened(url)
        line.flush()
        with pytest.raises(kind, match=sentence):
            send_until_it_fails(line)
        line.close()


def send_until_it_fails(line: Line) -> None:
    for _ in range(1_000_000):  # the first ones may go nowhere without an error
        line.session.send("quote_create_session", "qs")
        line.flush()
