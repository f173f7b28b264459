"""When the provider may ask: its turn in the pace, and the gate in front of everything."""

import threading
from collections.abc import Callable

import pytest

from infrastructure.errors import Rejected
from infrastructure.intervals import INTERVALS
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import TradingViewProvider
from infrastructure.tradingview.pace import Pace
from tests.tradingview.friday import paged
from tests.tradingview.settings_for import config_for

MINUTE, DAY = INTERVALS["1m"], INTERVALS["1d"]
server = pytest.fixture(paged)


class Turns(Pace):
    """Notes which pauses were asked for, and lets everybody through."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def turn_s(self, pause_s: float) -> float:
        self.pauses.append(pause_s)
        return 0.0


def test_each_request_waits_for_its_turn(server: SimulatorServer) -> None:
    turns = Turns()
    with TradingViewProvider(config_for(server, page_bars=1000, pause_s=7), pace=turns) as provider:
        list(provider.pages("BINANCE:BTCUSDT", MINUTE, bars=2500))
    assert turns.pauses == [7] * 3


def test_turns_are_a_pause_apart_whoever_takes_them() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    assert [pace.turn_s(2.0), pace.turn_s(2.0), pace.turn_s(0.5)] == [100.0, 102.0, 104.0]
    now[0] = 110.0
    assert [pace.turn_s(1.0), pace.turn_s(1.0)] == [110.0, 111.0]


def test_heartbeats_are_answered_while_waiting_for_a_turn() -> None:
    with (
        SimulatorServer(heartbeat_s=0.05, echo_timeout_s=0.2, anonymous_page=1000) as server,
        TradingViewProvider(config_for(server, page_bars=1000, pause_s=0.5), pace=Pace()) as provider,
    ):
        assert len(provider.history("BINANCE:BTCUSDT", MINUTE, bars=1500).bars) == 1500


def test_a_shut_gate_keeps_everything_in(server: SimulatorServer) -> None:
    def shut() -> None:
        raise Rejected("Upstream traffic is off.")

    calls: list[Callable[[TradingViewProvider], object]] = [
        lambda provider: provider.resolve("NASDAQ:AAPL"),
        lambda provider: list(provider.pages("NASDAQ:AAPL", DAY, bars=5)),
        lambda provider: provider.search("AAPL"),
        lambda provider: provider.quotes(["NASDAQ:AAPL"]),
    ]
    with TradingViewProvider(config_for(server), gate=shut) as provider:
        for call in calls:
            with pytest.raises(Rejected, match="Upstream traffic is off"):
                call(provider)
    assert server.connections == 0


def test_a_gate_that_shuts_between_two_pages_stops_the_next(server: SimulatorServer) -> None:
    off = threading.Event()

    def gate() -> None:
        if off.is_set():
            raise Rejected("Upstream traffic is off.")

    with TradingViewProvider(config_for(server, page_bars=1000), gate=gate) as provider:
        pages = provider.pages("BINANCE:BTCUSDT", MINUTE, bars=2500)
        next(pages)
        off.set()
        with pytest.raises(Rejected):
            next(pages)
        off.clear()
        assert provider.resolve("NASDAQ:AAPL").full_name == "BATS:AAPL"
