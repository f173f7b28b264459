"""No token, cookie or id of a session reaches a capture, whatever text it stands in."""

import json

import pytest

from infrastructure.replay.redaction import WITHHELD, Redactor
from infrastructure.simulator.wire import frame
from infrastructure.tradingview import frames
from infrastructure.tradingview.messages import request
from infrastructure.tradingview.session import Session
from tests.tradingview.talk import Draws

TOKEN, COOKIE = "made-up-token-7f3a", 'made-up/cookie"9c1e'


def payloads(text: str) -> list[str]:
    return frames.decode(Redactor((COOKIE,))(text))


def test_a_token_is_known_by_its_place() -> None:
    session = Session(TOKEN, Draws())
    token, locale = session.to_send()
    assert payloads(token) == ['{"m":"set_auth_token","p":["<token>"]}']
    assert Redactor()(locale) == locale


def test_a_token_that_was_sent_is_known_from_then_on() -> None:
    redactor = Redactor()
    error = frames.encode('{"m":"protocol_error","p":["wrong data: ' + TOKEN + '"]}')
    assert redactor(error) == error
    redactor(request("set_auth_token", TOKEN))
    assert frames.decode(redactor(error)) == ['{"m":"protocol_error","p":["wrong data: <secret>"]}']
    assert redactor(f"{TOKEN} in no frame") == "<secret> in no frame"


@pytest.mark.parametrize("text", [COOKIE, json.dumps(COOKIE), f"sessionid={COOKIE};", frame(json.dumps({"m": COOKIE}))])
def test_a_cookie_is_hidden_wherever_it_stands(text: str) -> None:
    redacted = Redactor((COOKIE,))(text)
    assert "9c1e" not in redacted
    assert "<secret>" in redacted


def test_the_servers_id_of_a_session_is_hidden_and_its_clock_is_not() -> None:
    hello = '{"session_id":"0.24.0_tyo1-charts","timestamp":1787292487,"timestampMs":1787292487138,"via":"ü"}'
    batch = frames.encode("~h~7") + frames.encode(hello) + frames.encode('{"m":"qsd","p":["qs",{"n":"X"}]}')
    assert payloads(batch) == [
        "~h~7",
        '{"session_id":"<session>","timestamp":1787292487,"timestampMs":1787292487138,"via":"ü"}',
        '{"m":"qsd","p":["qs",{"n":"X"}]}',
    ]


@pytest.mark.parametrize(
    "text",
    [
        '~m~999~m~{"m":"set_auth_token","p":["made-up-token-7f3a"]}',
        '{"session_id":"made-up-token-7f3a"',
        frame('{"m":"set_auth_token","p":["made-up-token-7f3a"'),
        frame('["session_id","set_auth_token",{"session_id":"made-up-token-7f3a"}]'),
        frame('{"m":"set_auth_token","p":"made-up-token-7f3a"}'),
        frame('{"m":"set_auth_token","p":' + "[" * 100_000),
        frame('{"m":"set_auth_token"}'),
    ],
)
def test_what_cannot_be_taken_apart_is_withheld(text: str) -> None:
    redacted = Redactor()(text)
    assert "7f3a" not in redacted
    assert WITHHELD in redacted or "<token>" in redacted


def test_other_texts_stay_what_they_are() -> None:
    for text in ("", "~m~4~m~~h~1", "~m~2~m~{}", "garbage ~m~", frames.encode('{"m":"du","p":["cs",{}]}')):
        assert Redactor(("", COOKIE))(text) == text
