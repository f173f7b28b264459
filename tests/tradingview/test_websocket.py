import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from infrastructure.bars import Bar
from infrastructure.errors import Rejected
from infrastructure.intervals import INTERVALS
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.simulator.tokens import issue
from infrastructure.tradingview import TradingViewConfig, TradingViewWebSocketProvider
from infrastructure.tradingview.base import (
    BarUpdate,
    Quote,
    QuoteUpdate,
    StreamEvent,
    StreamState,
    SymbolRefused,
    Wanted,
)
from infrastructure.tradingview.line import now_ms
from tests.tradingview.settings_for import config_for

MINUTE = INTERVALS["1m"]
DEADLINE_S = 30  # against a hang
#: A Friday with New York, London, Chicago and the coins open: 10:07:31 in New York.
FRIDAY = int(datetime(2026, 11, 20, 15, 7, 31, tzinfo=UTC).timestamp() * 1000)
SATURDAY = FRIDAY + 86_400_000
OPEN_MINUTE = FRIDAY - FRIDAY % 60_000


class Sink:
    """What came, in order; `until` waits for it."""

    def __init__(self) -> None:
        self.events: list[StreamEvent] = []
        self.together = False  # it was called by two at a time
        self._news = threading.Condition()
        self._turn = threading.Lock()

    def __call__(self, event: StreamEvent) -> None:
        if not self._turn.acquire(blocking=False):
            self.together = True
            return
        with self._news:
            self.events.append(event)
            self._news.notify_all()
        self._turn.release()

    def until(self, found: Callable[[list[StreamEvent]], Any]) -> Any:
        with self._news:
            assert self._news.wait_for(lambda: found(self.events), DEADLINE_S), self.events[-20:]
            return found(self.events)

    def of(self, kind: type[Any], symbol: str = "") -> list[Any]:
        return [e for e in self.events if isinstance(e, kind) and (not symbol or getattr(e, "symbol", "") == symbol)]

    @property
    def states(self) -> list[str]:
        return [event.state for event in self.of(StreamState)]

    def until_states(self, *states: str) -> None:
        self.until(lambda _: self.states == list(states))

    def until_quotes(self, *symbols: str) -> None:
        self.until(lambda _: all(self.of(QuoteUpdate, symbol) for symbol in symbols))


def quotes(*symbols: str) -> Wanted:
    return Wanted(frozenset(symbols))


def minutes(*symbols: str) -> Wanted:
    return Wanted(frozenset(), frozenset((symbol, MINUTE) for symbol in symbols))


class Running:
    def __init__(self, server: SimulatorServer, wanted: Wanted, gate: Any = None, **changes: Any) -> None:
        self.sink = Sink()
        self.provider = TradingViewWebSocketProvider(config_for(server, **changes), gate)
        self.provider.want(wanted)

    def __enter__(self) -> Sink:
        self.provider.start(self.sink)
        return self.sink

    def __exit__(self, *_: object) -> None:
        self.provider.close()


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock(FRIDAY)


@pytest.fixture
def server(clock: StandingClock) -> Iterator[SimulatorServer]:
    with SimulatorServer(clock=clock, heartbeat_s=0.2, echo_timeout_s=5) as running:
        yield running


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


def test_states_tell_of_connecting_and_being_live(server: SimulatorServer) -> None:
    with Running(server, quotes("TEST:TICK")) as sink:
        sink.until_states("connecting", "live")
        assert [event.reason for event in sink.of(StreamState)] == ["", ""]


@pytest.mark.parametrize("mode", ["close", "reset"])
def test_a_lost_connection_is_made_again_and_all_asked_for_again(server: SimulatorServer, mode: str) -> None:
    wanted = Wanted(frozenset({"TEST:TICK"}), frozenset({("TEST:TICK", MINUTE)}))
    with Running(server, wanted) as sink:
        sink.until(lambda _: sink.of(QuoteUpdate) and sink.of(BarUpdate))
        before = len(sink.events)
        server.faults.set(mode)
        sink.until_states("connecting", "live", "reconnecting", "live")
        full = sink.until(lambda events: [e for e in events[before:] if isinstance(e, QuoteUpdate)])[0]
        assert len(full.changes) == 18
        again = sink.until(lambda events: [e for e in events[before:] if isinstance(e, BarUpdate)])
        assert again


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


@pytest.mark.parametrize("mode", ["silence", "heartbeats_only"])
def test_silence_in_an_open_market_is_stale_and_ends_with_a_new_connection(server: SimulatorServer, mode: str) -> None:
    with Running(server, quotes("NASDAQ:AAPL"), silence_s=1) as sink:
        sink.until_states("connecting", "live")
        server.faults.set(mode)
        sink.until_states("connecting", "live", "stale")
        assert sink.of(StreamState)[2].reason == "No data for 1 s though a market is open."
        server.faults.clear()
        sink.until_states("connecting", "live", "stale", "live")


def test_an_expired_token_is_found_by_the_lack_of_data(server: SimulatorServer) -> None:
    """Whatever the market does: no answer came at all."""
    token = issue(FRIDAY - 3_600_000 * 24 * 400, life_s=3_600 * 24 * 500)
    server.faults.set("token_expired")
    with Running(server, quotes("NASDAQ:AAPL"), silence_s=1, auth_token=token) as sink:
        sink.until_states("connecting", "stale")


class Counting:
    """A gate, asked about once a second by each connection: its count tells that time has passed."""

    def __init__(self) -> None:
        self.asked = 0
        self.shut = False
        self._news = threading.Condition()

    def __call__(self) -> None:
        with self._news:
            self.asked += 1
            self._news.notify_all()
        if self.shut:
            raise Rejected("Upstream traffic is off: somebody switched it off.")

    def until_asked(self, times: int) -> None:
        with self._news:
            goal = self.asked + times
            assert self._news.wait_for(lambda: self.asked >= goal, DEADLINE_S)


def test_a_closed_market_is_not_stale() -> None:
    gate = Counting()
    wanted = Wanted(frozenset({"NASDAQ:AAPL"}), frozenset({("NASDAQ:AAPL", MINUTE)}))
    with (
        SimulatorServer(clock=StandingClock(SATURDAY), heartbeat_s=0.1) as server,
        Running(server, wanted, gate, silence_s=0.2) as sink,
    ):
        sink.until(lambda _: sink.of(BarUpdate) and sink.of(QuoteUpdate))
        gate.until_asked(4)
        assert sink.states == ["connecting", "live"]
        assert {event.closed for event in sink.of(BarUpdate)} == {True}


def test_a_shut_gate_closes_the_connection_and_an_open_one_resumes(server: SimulatorServer) -> None:
    gate = Counting()
    with Running(server, quotes("TEST:TICK"), gate) as sink:
        sink.until_states("connecting", "live")
        gate.shut = True
        sink.until_states("connecting", "live", "stopped")
        assert sink.of(StreamState)[-1].reason == "Upstream traffic is off: somebody switched it off."
        gate.until_asked(2)
        assert server.connections == 0
        gate.shut = False
        sink.until_states("connecting", "live", "stopped", "connecting", "live")


def test_an_open_gate_resumes_after_a_lost_connection_too(server: SimulatorServer) -> None:
    gate = Counting()
    with Running(server, quotes("TEST:TICK"), gate) as sink:
        sink.until_states("connecting", "live")
        server.faults.set("close")
        sink.until_states("connecting", "live", "reconnecting", "live")
        gate.shut = True
        sink.until(lambda _: sink.states[-1] == "stopped")
        server.faults.set("silence")
        gate.shut = False
        sink.until_states("connecting", "live", "reconnecting", "live", "stopped", "connecting")


def test_a_connection_no_longer_needed_is_no_longer_waited_for(server: SimulatorServer) -> None:
    running = Running(server, quotes("NASDAQ:AAPL"), symbols_per_connection=1)
    with running as sink:
        sink.until_quotes("NASDAQ:AAPL")
        running.provider.want(quotes("NASDAQ:AAPL", "TEST:TICK"))
        sink.until_quotes("TEST:TICK")
        server.faults.set("handshake_429", value=200)
        server.faults.set("close", connection=2)
        sink.until(lambda _: sink.states[-1] == "reconnecting")
        running.provider.want(quotes("NASDAQ:AAPL"))
        sink.until(lambda _: sink.states[-1] == "live")


def test_a_gate_that_shuts_while_waiting_to_reconnect_is_told(server: SimulatorServer) -> None:
    gate = Counting()
    server.faults.set("handshake_429", value=200)
    with Running(server, quotes("TEST:TICK"), gate) as sink:
        sink.until_states("connecting", "reconnecting")
        gate.shut = True
        sink.until_states("connecting", "reconnecting", "stopped")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"origin": "https://example.com"},
            "127.0.0.1 answered 403: it refuses the TRADINGVIEW_ORIGIN, or this machine's address.",
        ),
        (
            {"auth_token": "forged-token"},
            "TradingView refuses the TRADINGVIEW_AUTH_TOKEN: bad auth token. It may have expired.",
        ),
    ],
)
def test_what_a_person_must_mend_is_refused(server: SimulatorServer, changes: dict[str, str], reason: str) -> None:
    with Running(server, quotes("TEST:TICK"), **changes) as sink:
        sink.until_states("connecting", "refused")
        assert sink.of(StreamState)[-1].reason == reason


def test_a_token_that_says_it_has_ended_is_refused_before_connecting(server: SimulatorServer) -> None:
    with Running(server, quotes("TEST:TICK"), auth_token=issue(now_ms() - 7_200_000, life_s=60)) as sink:
        sink.until_states("connecting", "refused")
        assert "TRADINGVIEW_AUTH_TOKEN expired at" in sink.of(StreamState)[-1].reason
        assert server.connections == 0


def test_one_spoilt_message_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with SimulatorServer() as server, Running(server, quotes("TEST:TICK")) as sink:
        sink.until_quotes("TEST:TICK")
        server.faults.set("malformed_json", times=1)
        before = len(sink.of(QuoteUpdate))
        sink.until(lambda _: len(sink.of(QuoteUpdate)) > before + 3 and not server.faults.any)
        assert sink.states == ["connecting", "live"]
    assert "TradingView sent what is no JSON" in caplog.text


def test_framing_that_lies_makes_a_new_connection(server: SimulatorServer, clock: StandingClock) -> None:
    with Running(server, quotes("TEST:TICK")) as sink:
        sink.until_quotes("TEST:TICK")
        server.faults.set("wrong_length", times=1)
        clock.at_ms += 1_000
        sink.until_states("connecting", "live", "reconnecting", "live")


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
