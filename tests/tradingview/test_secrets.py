"""The token and the cookie go to TradingView and nowhere else: not into a log, an error, a traceback or a repr."""

import logging
import traceback
from collections.abc import Iterator

import pytest

from infrastructure.errors import InfrastructureError
from infrastructure.http_client import HttpClient
from infrastructure.intervals import INTERVALS
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import TradingViewConfig, TradingViewProvider, TradingViewWebSocketProvider
from infrastructure.tradingview.base import StreamEvent, Wanted
from infrastructure.tradingview.http import TradingViewHttp
from infrastructure.tradingview.session import Session
from tests.tradingview.listening import Sink
from tests.tradingview.settings_for import config_for
from tests.tradingview.talk import Draws

TOKEN, COOKIE = "a-secret-token-7f3a", "a-secret-cookie-9c1e"
MINUTE = INTERVALS["1m"]
FAULTS = ("handshake_403", "handshake_429", "wrong_length", "malformed_json", "close_mid_batch", "silence")
HTTP_FAULTS = ("http_403", "http_429", "http_html", "http_empty", "scanner_error")


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(paid_tokens=frozenset({TOKEN}), paid_depth=5000) as running:
        yield running


def secretive(server: SimulatorServer, token: str = TOKEN) -> TradingViewConfig:
    return config_for(server, auth_token=token, session_cookie=COOKIE, timeout_s=0.3, silence_s=1)


def shown(error: InfrastructureError) -> str:
    parts = [str(error), repr(error), repr(error.__dict__), *traceback.format_exception(error)]
    return "\n".join(parts)


def clean(text: str) -> bool:
    return TOKEN not in text and COOKIE not in text and "forged" not in text


def provider_for(config: TradingViewConfig) -> TradingViewProvider:
    client = HttpClient(sleep=lambda seconds: None)
    http = TradingViewHttp(client, config.search_url, config.scanner_url, config.origin, config.session_cookie)
    return TradingViewProvider(config, http=http)


def test_a_pull_shows_no_secret_whatever_happens(server: SimulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    errors: list[str] = []
    caplog.set_level(logging.DEBUG)
    for token, fault in ((TOKEN, ""), ("forged", ""), *((TOKEN, fault) for fault in (*FAULTS, *HTTP_FAULTS))):
        if fault:
            server.faults.set(fault)
        with provider_for(secretive(server, token)) as provider:
            assert clean(repr(provider) + repr(provider.__dict__))
            for call in (
                lambda provider=provider: provider.resolve("NASDAQ:AAPL"),
                lambda provider=provider: provider.history("NASDAQ:AAPL", MINUTE, bars=5),
                lambda provider=provider: provider.search("AAPL"),
                lambda provider=provider: provider.quotes(["NASDAQ:AAPL"]),
            ):
                try:
                    call()
                except InfrastructureError as error:
                    errors.append(shown(error))
        server.faults.clear()
    assert len(errors) > 20
    assert all(map(clean, errors))
    assert clean(caplog.text)


def test_a_stream_shows_no_secret_whatever_happens(server: SimulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[StreamEvent] = []
    for fault, token, ends in (
        ("", TOKEN, "live"),
        ("", "forged", "refused"),
        ("handshake_403", TOKEN, "refused"),
        ("wrong_length", TOKEN, "reconnecting"),
        ("silence", TOKEN, "stale"),
    ):
        if fault:
            server.faults.set(fault)
        sink = Sink()
        provider = TradingViewWebSocketProvider(secretive(server, token))
        provider.want(Wanted(frozenset({"TEST:TICK"})))
        provider.start(sink)
        sink.until(lambda _, sink=sink, ends=ends: ends in sink.states)
        assert clean(repr(provider) + repr(provider.__dict__))
        provider.close()
        server.faults.clear()
        events += sink.events
    assert clean(repr(events))
    assert clean(caplog.text)
    assert "tradingview-0" in caplog.text


def test_a_session_shows_no_token() -> None:
    session = Session(TOKEN, Draws())
    for text in (
        '{"m":"protocol_error","p":["wrong data: ' + TOKEN + '"]}',
        '{"m":"protocol_error","p":[{"args":"' + TOKEN + '"}]}',
    ):
        with pytest.raises(InfrastructureError) as caught:
            session.receive(f"~m~{len(text)}~m~{text}", 0)
        assert clean(shown(caught.value))
    assert clean(repr(session))
