"""What a stream brings of the simulator's market, and how it follows what is wanted."""

import logging
import socket
import threading
import time
from dataclasses import replace

import pytest

from infrastructure.bars import Bar
from infrastructure.intervals import INTERVALS
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import TradingViewConfig, TradingViewWebSocketProvider
from infrastructure.tradingview.assignment import assigned
from infrastructure.tradingview.base import (
    BarUpdate,
    Quote,
    QuoteUpdate,
    StreamEvent,
    StreamState,
    SymbolRefused,
    Wanted,
)
from infrastructure.tradingview.link import LEFT_OUT
from infrastructure.tradingview.websocket import CLOSE_S
from tests.tradingview.friday import FRIDAY, OPEN_MINUTE, beating
from tests.tradingview.listening import DEADLINE_S, Running, Sink
from tests.tradingview.settings_for import config_for
from tests.tradingview.wishes import MINUTE, minutes, quotes

server = pytest.fixture(beating)


def test_the_first_quotes_are_the_markets(server: SimulatorServer) -> None:
    symbols = ("NASDAQ:AAPL", "BINANCE:BTCUSDT", "LSE:VOD", "SP:SPX", "KRX:005930", "TEST:UTF16")
    with Running(server, quotes(*symbols)) as sink:
        sink.until_quotes(*symbols)
    for symbol in symbols:
        changes = sink.of(QuoteUpdate, symbol)[0].changes
        expected = server.market.quote(symbol, FRIDAY)
        found = Quote(symbol).merged(changes)
        assert found == replace(expected, last_ms=expected.last_ms and expected.last_ms - expected.last_ms % 1000)


def test_later_quotes_add_up_to_the_markets(server: SimulatorServer, clock: StandingClock) -> None:
    with Running(server, quotes("TEST:TICK")) as sink:
        sink.until_quotes("TEST:TICK")
        clock.at_ms += 3_000
        expected = server.market.quote("TEST:TICK", clock.at_ms)

        def added_up(events: list[StreamEvent]) -> bool:
            quote = Quote("TEST:TICK")
            for event in events:
                if isinstance(event, QuoteUpdate):
                    quote = quote.merged(event.changes)
            return (quote.last, quote.volume, quote.bid) == (expected.last, expected.volume, expected.bid)

        sink.until(added_up)


def test_bars_form_and_close_as_the_markets(server: SimulatorServer, clock: StandingClock) -> None:
    symbols = ("TEST:TICK", "NASDAQ:AAPL", "TVC:RUT")
    with Running(server, minutes(*symbols)) as sink:
        for symbol in symbols:
            sink.until(lambda _, symbol=symbol: any(not e.closed for e in sink.of(BarUpdate, symbol)))
        clock.at_ms = OPEN_MINUTE + 61_000
        for symbol in symbols:
            sink.until(
                lambda _, symbol=symbol: any(
                    e.closed and e.bar.time_ms == OPEN_MINUTE for e in sink.of(BarUpdate, symbol)
                )
            )
    for symbol in symbols:
        closed: dict[int, Bar] = {e.bar.time_ms: e.bar for e in sink.of(BarUpdate, symbol) if e.closed}
        expected = server.market.last(symbol, MINUTE, 10, OPEN_MINUTE + 60_000)
        assert str([closed[ms] for ms in sorted(closed)]) == str(list(expected))
        assert {e.close_ms - e.bar.time_ms for e in sink.of(BarUpdate, symbol)} == {60_000}


def test_a_changed_wish_is_followed(server: SimulatorServer, clock: StandingClock) -> None:
    running = Running(server, quotes("TEST:TICK", "NASDAQ:AAPL"))
    with running as sink:
        sink.until_quotes("TEST:TICK", "NASDAQ:AAPL")
        running.provider.want(Wanted(frozenset({"NASDAQ:MSFT"}), frozenset({("BINANCE:BTCUSDT", MINUTE)})))
        sink.until(lambda _: sink.of(QuoteUpdate, "NASDAQ:MSFT") and sink.of(BarUpdate, "BINANCE:BTCUSDT"))
        gone, kept = len(sink.of(QuoteUpdate, "TEST:TICK")), len(sink.of(QuoteUpdate, "NASDAQ:MSFT"))
        clock.at_ms += 20_000
        sink.until(lambda _: len(sink.of(QuoteUpdate, "NASDAQ:MSFT")) > kept)
        assert len(sink.of(QuoteUpdate, "TEST:TICK")) == gone
        assert sink.states == ["connecting", "live"]


def test_a_stream_may_start_before_anything_is_wanted(server: SimulatorServer) -> None:
    running = Running(server, Wanted())
    with running as sink:
        sink.until_states("stopped")
        assert server.connections == 0
        running.provider.want(quotes("TEST:TICK"))
        sink.until_states("stopped", "connecting", "live")
        running.provider.want(Wanted())
        sink.until_states("stopped", "connecting", "live", "stopped")
        assert sink.of(StreamState)[-1].reason == "Nothing is wanted."


def test_symbols_are_split_over_connections(server: SimulatorServer) -> None:
    symbols = ("BINANCE:BTCUSDT", "BINANCE:ETHUSDT", "BINANCE:SOLUSDT", "TEST:TICK", "NASDAQ:AAPL")
    with Running(server, quotes(*symbols), symbols_per_connection=2) as sink:
        sink.until_quotes(*symbols)
        assert server.connections == 3
        sink.until(lambda _: sink.states[-1] == "live")
        server.faults.set("handshake_429")
        server.faults.set("close", connection=2)
        sink.until(lambda _: sink.states[-1] == "reconnecting")  # one of three is enough
        server.faults.clear()
        sink.until(lambda _: sink.states[-1] == "live")
        assert not sink.together


def test_unknown_symbols_are_refused_and_the_others_flow(server: SimulatorServer) -> None:
    wanted = Wanted(
        frozenset({"NASDAQ:NONE", "TEST:DENIED", "TEST:TICK"}),
        frozenset({("TEST:DAILY", MINUTE), ("TEST:TICK", MINUTE)}),
    )
    with Running(server, wanted) as sink:
        sink.until(lambda _: len(sink.of(SymbolRefused)) == 3 and sink.of(QuoteUpdate) and sink.of(BarUpdate))
        assert sorted(sink.of(SymbolRefused), key=str) == [
            SymbolRefused("NASDAQ:NONE", "no_such_symbol"),
            SymbolRefused(
                "TEST:DAILY", "TradingView has no 1m bars of TEST:DAILY: unsupported resolution: TEST:DAILY, 1.", MINUTE
            ),
            SymbolRefused("TEST:DENIED", "Permission denied"),
        ]
        server.faults.set("close")
        sink.until_states("connecting", "live", "reconnecting", "live")
        assert len(sink.of(SymbolRefused)) == 3  # not asked for again


def test_one_spoilt_message_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with SimulatorServer() as server, Running(server, quotes("TEST:TICK")) as sink:
        sink.until_quotes("TEST:TICK")
        server.faults.set("malformed_json", times=1)
        before = len(sink.of(QuoteUpdate))
        sink.until(lambda _: len(sink.of(QuoteUpdate)) > before + 3 and not server.faults.any)
        assert sink.states == ["connecting", "live"]
    assert "TradingView sent what is no JSON" in caplog.text


def test_a_dead_chart_session_is_opened_again_over_the_same_connection(server: SimulatorServer) -> None:
    with Running(server, minutes("NASDAQ:AAPL")) as sink:
        sink.until(lambda _: len(sink.of(BarUpdate)) == 10)
        server.faults.set("critical_error")
        sink.until(lambda _: len(sink.of(BarUpdate)) == 20)
        assert sink.states == ["connecting", "live"]


def test_nothing_comes_after_close(server: SimulatorServer) -> None:
    running = Running(server, Wanted(frozenset({"TEST:TICK", "NASDAQ:AAPL"})), symbols_per_connection=1)
    with running as sink:
        sink.until_quotes("TEST:TICK", "NASDAQ:AAPL")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("tradingview-")]
    running.provider.close()


def test_a_close_does_not_wait_for_the_server() -> None:
    with SimulatorServer() as server:
        server.faults.set("silence")
        with Running(server, quotes("TEST:TICK")) as sink:
            sink.until_states("connecting")
    assert sink.states == ["connecting"]


def test_a_close_does_not_wait_for_a_source_that_hangs() -> None:
    """It takes the connection and says nothing, not even in the handshake."""
    sink = Sink()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        config = TradingViewConfig(f"ws://127.0.0.1:{port}/", url, url, "https://www.tradingview.com")
        provider = TradingViewWebSocketProvider(config)
        provider.want(quotes("TEST:TICK"))
        provider.start(sink)
        sink.until_states("connecting")
        accepted, _ = listening.accept()
        (link,) = [thread for thread in threading.enumerate() if thread.name == "tradingview-0"]
        began_s = time.monotonic()
        provider.close()
        assert time.monotonic() - began_s < CLOSE_S + 1
        accepted.close()
    link.join(DEADLINE_S)
    assert not link.is_alive()
    assert sink.states == ["connecting"]


def test_bars_beyond_all_connections_are_refused_until_there_is_room(server: SimulatorServer) -> None:
    seven = [INTERVALS[name] for name in ("1m", "3m", "5m", "15m", "30m", "45m", "1h")]
    wanted = Wanted(frozenset({"TEST:TICK"}), frozenset(("TEST:TICK", interval) for interval in seven))
    (left_out,) = wanted.bars - assigned(wanted, {}, 1).keys()
    refused = SymbolRefused("TEST:TICK", LEFT_OUT, left_out[1])
    running = Running(server, wanted, symbols_per_connection=1)
    with running as sink:
        sink.until(lambda _: {(e.symbol, e.interval) for e in sink.of(BarUpdate)} == wanted.bars - {left_out})
        sink.until(lambda _: sink.of(SymbolRefused) == [refused])
        running.provider.want(replace(wanted, quotes=wanted.quotes | {"NASDAQ:AAPL"}))
        sink.until_quotes("TEST:TICK", "NASDAQ:AAPL")
        assert sink.of(SymbolRefused) == [refused]
        running.provider.want(replace(wanted, bars=frozenset({left_out})))
        sink.until(lambda _: {(e.symbol, e.interval) for e in sink.of(BarUpdate)} == wanted.bars)
        running.provider.want(replace(wanted, bars=wanted.bars | {("NASDAQ:AAPL", MINUTE)}))
        sink.until(lambda _: len(sink.of(SymbolRefused)) == 3)
    assert "TRADINGVIEW_SYMBOLS_PER_CONNECTION" in LEFT_OUT


def test_a_sink_that_fails_does_not_end_the_stream(server: SimulatorServer, caplog: pytest.LogCaptureFixture) -> None:
    sink = Sink()
    failures = iter([RuntimeError("a bug in the feed")])

    def failing(event: StreamEvent) -> None:
        if isinstance(event, QuoteUpdate):
            for failure in failures:
                raise failure
        sink(event)

    provider = TradingViewWebSocketProvider(config_for(server))
    provider.want(quotes("TEST:TICK"))
    with caplog.at_level(logging.ERROR, "infrastructure.tradingview.link"):
        provider.start(failing)
        sink.until_quotes("TEST:TICK")
        provider.close()
    assert "a bug in the feed" in caplog.text


def test_the_settings_make_one() -> None:
    provider = TradingViewWebSocketProvider.from_settings()
    assert provider.config == TradingViewConfig.from_settings()
    provider.close()
