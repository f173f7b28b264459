"""A session cookie's tokens, from the simulator's page to its websocket."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from infrastructure.errors import Rejected, Unavailable
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.simulator.tokens import issue
from infrastructure.simulator.website import SESSION_COOKIE
from infrastructure.tradingview import TradingViewConfig, TradingViewProvider
from infrastructure.tradingview.base import QuoteUpdate, StreamState
from infrastructure.tradingview.config import expires_ms
from infrastructure.tradingview.line import now_ms
from infrastructure.tradingview.tokens import Tokens
from tests.tradingview.listening import Running
from tests.tradingview.settings_for import config_for
from tests.tradingview.wishes import quotes

HOUR_MS = 3_600_000
COIN = "TEST:TICK"


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(clock=StandingClock(now_ms()), heartbeat_s=0.1) as running:
        yield running


def logged_in(server: SimulatorServer, **changes: Any) -> TradingViewConfig:
    return config_for(server, session_cookie=SESSION_COOKIE, site_url=server.http_url, **changes)


@pytest.fixture
def tokens(server: SimulatorServer) -> Iterator[Tokens]:
    tokens = Tokens(logged_in(server), lambda: None)
    yield tokens
    tokens.close()


def later(server: SimulatorServer, hours: float) -> None:
    assert isinstance(server.clock, StandingClock)
    server.clock.at_ms += int(hours * HOUR_MS)


def test_a_cookie_brings_the_token_of_its_account(server: SimulatorServer, tokens: Tokens) -> None:
    end_ms = expires_ms(tokens.config().auth_token)
    assert end_ms is not None and end_ms // 1000 == (server.clock.now_ms() + 4 * HOUR_MS) // 1000


def test_it_is_asked_for_once(server: SimulatorServer, tokens: Tokens) -> None:
    first = tokens.config()
    server.faults.set("http_403")
    assert tokens.config() == first


def test_one_that_was_given_up_is_replaced(server: SimulatorServer, tokens: Tokens) -> None:
    first = tokens.config()
    later(server, 1)
    tokens.give_up(first)
    second = tokens.config()
    assert second.auth_token != first.auth_token
    tokens.give_up(first)  # another connection, which still had the old one
    assert tokens.config() == second


def test_one_that_ends_soon_is_not_begun_with(server: SimulatorServer) -> None:
    for life_s, kept in ((59, False), (90, True)):
        token = issue(now_ms(), life_s)
        tokens = Tokens(logged_in(server, auth_token=token), lambda: None)
        assert (tokens.config().auth_token == token) is kept
        tokens.close()


def test_without_a_cookie_there_is_the_token_of_the_settings(server: SimulatorServer) -> None:
    config = replace(logged_in(server, auth_token="a.b.c"), session_cookie="")
    tokens = Tokens(config, lambda: None)
    tokens.give_up(config)
    assert tokens.config() == config
    tokens.close()


def test_a_cookie_that_has_ended_is_for_a_person(server: SimulatorServer) -> None:
    tokens = Tokens(replace(logged_in(server), session_cookie="old"), lambda: None)
    with pytest.raises(Rejected, match="has no token for the TRADINGVIEW_SESSION_COOKIE"):
        tokens.config()
    tokens.close()


def test_a_page_that_is_away_is_asked_again_later(server: SimulatorServer, tokens: Tokens) -> None:
    server.faults.set("http_503")
    with pytest.raises(Unavailable):
        tokens.config()
    server.faults.clear()
    assert tokens.config().auth_token


def test_the_history_of_the_account_is_deeper(server: SimulatorServer) -> None:
    with TradingViewProvider(logged_in(server)) as provider:
        assert provider.resolve("NASDAQ:AAPL").full_name == "NASDAQ:AAPL"  # BATS:AAPL to a visitor


def test_a_token_that_ends_while_it_streams_is_renewed(server: SimulatorServer) -> None:
    """The server goes on with heartbeats alone."""
    with Running(server, quotes(COIN), **vars_of(logged_in(server, silence_s=1))) as sink:
        sink.until_states("connecting", "live")
        later(server, 5)
        sink.until_states("connecting", "live", "stale", "live")
        before = len(sink.of(QuoteUpdate, COIN))
        later(server, 0.01)
        sink.until(lambda _: len(sink.of(QuoteUpdate, COIN)) > before)
    assert sink.of(StreamState)[2].reason == "No data of TEST for 1 s though it is open."


def test_a_token_of_the_settings_that_is_refused_is_replaced(server: SimulatorServer) -> None:
    config = logged_in(server, auth_token="an-old-token")
    with Running(server, quotes(COIN), auth_token="an-old-token", **vars_of(config)) as sink:
        sink.until_states("connecting", "reconnecting", "live")
    with TradingViewProvider(config) as provider:
        assert provider.resolve("NASDAQ:AAPL").full_name == "NASDAQ:AAPL"


def test_a_second_one_that_is_refused_is_for_a_person(server: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ask(_: Tokens) -> str:
        asked.append(1)
        return "another-old-token"

    monkeypatch.setattr(Tokens, "_ask", ask)
    config = logged_in(server)
    with Running(server, quotes(COIN), **vars_of(config)) as sink:
        sink.until_states("connecting", "reconnecting", "refused")
    with TradingViewProvider(config) as provider:
        for tries in (2, 1):  # once more at first, then no more than one a request
            asked.clear()
            with pytest.raises(Rejected, match="bad auth token"):
                provider.resolve("NASDAQ:AAPL")
            assert len(asked) == tries


def vars_of(config: TradingViewConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in ("session_cookie", "site_url", "silence_s")}
