"""What a stream says of its connections: live, lost, silent, refused, stopped by the gate."""

import threading

import pytest

from infrastructure.errors import Rejected
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.simulator.tokens import issue
from infrastructure.tradingview.base import BarUpdate, QuoteUpdate, StreamState, Wanted
from infrastructure.tradingview.line import now_ms
from tests.tradingview.friday import FRIDAY, beating
from tests.tradingview.listening import DEADLINE_S, Running
from tests.tradingview.markets import CRYPTO
from tests.tradingview.wishes import MINUTE, quotes

SATURDAY = FRIDAY + 86_400_000
server = pytest.fixture(beating)


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


@pytest.mark.parametrize("mode", ["silence", "heartbeats_only"])
def test_silence_in_an_open_market_is_stale_and_ends_with_a_new_connection(server: SimulatorServer, mode: str) -> None:
    with Running(server, quotes("NASDAQ:AAPL"), silence_s=1) as sink:
        sink.until_states("connecting", "live")
        server.faults.set(mode)
        sink.until_states("connecting", "live", "stale")
        assert sink.of(StreamState)[2].reason == "No data of NASDAQ for 1 s though it is open."
        server.faults.clear()
        sink.until_states("connecting", "live", "stale", "live")


@pytest.mark.slow
def test_a_market_that_stays_silent_is_stale_and_connected_for_once() -> None:
    wanted = Wanted(frozenset({"TEST:TICK", "BINANCE:BTCUSDT"}), hours={"BINANCE:BTCUSDT": CRYPTO})
    with SimulatorServer() as server, Running(server, wanted, silence_s=3) as sink:
        sink.until_quotes("TEST:TICK", "BINANCE:BTCUSDT")
        server.faults.set("heartbeats_only", symbol="BINANCE:BTCUSDT")
        sink.until_states("connecting", "live", "stale", "live", "stale")
        assert {event.reason for event in sink.of(StreamState) if event.state == "stale"} == {
            "No data of BINANCE for 3 s though it is open."
        }
        server.faults.clear()
        sink.until_states("connecting", "live", "stale", "live", "stale", "live")
        assert len([event for event in sink.of(QuoteUpdate, "TEST:TICK") if len(event.changes) == 18]) == 2


def test_hours_alone_are_no_wish(server: SimulatorServer) -> None:
    with Running(server, Wanted(hours={"TEST:TICK": CRYPTO})) as sink:
        sink.until_states("stopped")
        assert sink.of(StreamState)[0].reason == "Nothing is wanted."


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


def test_framing_that_lies_makes_a_new_connection(server: SimulatorServer, clock: StandingClock) -> None:
    with Running(server, quotes("TEST:TICK")) as sink:
        sink.until_quotes("TEST:TICK")
        server.faults.set("wrong_length", times=1)
        clock.at_ms += 1_000
        sink.until_states("connecting", "live", "reconnecting", "live")
