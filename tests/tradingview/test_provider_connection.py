"""The provider's one connection: shared by all calls, refused, lost and made anew."""

import threading
import time

import pytest
from websockets.sync.server import ServerConnection

from infrastructure.bars import Bars
from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.simulator import PAID_TOKEN, SimulatorServer
from infrastructure.simulator.tokens import issue
from infrastructure.tradingview import TradingViewConfig, TradingViewProvider, frames
from infrastructure.tradingview.line import now_ms
from tests.tradingview.friday import OPEN_MINUTE, paged
from tests.tradingview.settings_for import config_for
from tests.tradingview.wire_server import serving, until_left

MINUTE, DAY = INTERVALS["1m"], INTERVALS["1d"]
server = pytest.fixture(paged)


@pytest.mark.parametrize(
    ("mode", "kind", "timeout_s"),
    [
        ("malformed_json", Malformed, 20),
        ("wrong_length", Malformed, 20),
        ("close_mid_batch", Unavailable, 20),
        ("silence", Unavailable, 0.5),
    ],
)
def test_what_breaks_a_request_leaves_the_provider_usable(
    server: SimulatorServer, mode: str, kind: type[InfrastructureError], timeout_s: float
) -> None:
    with TradingViewProvider(config_for(server, timeout_s=timeout_s)) as provider:
        server.faults.set(mode)
        with pytest.raises(kind):
            provider.history("NASDAQ:AAPL", DAY, bars=10)
        server.faults.clear()
        provider.config = config_for(server)
        assert len(provider.history("NASDAQ:AAPL", DAY, bars=10).bars) == 10


def test_a_refused_handshake_names_the_setting(server: SimulatorServer) -> None:
    with (
        TradingViewProvider(config_for(server, origin="https://example.com")) as provider,
        pytest.raises(Rejected, match="TRADINGVIEW_ORIGIN"),
    ):
        provider.resolve("NASDAQ:AAPL")


def test_too_many_connections_are_told_when_to_come_back(
    server: SimulatorServer, provider: TradingViewProvider
) -> None:
    server.faults.set("handshake_429", value=9)
    with pytest.raises(Unavailable) as caught:
        provider.resolve("NASDAQ:AAPL")
    assert caught.value.retry_after_s == 9


def test_a_bad_token_is_rejected_by_the_name_of_its_setting(server: SimulatorServer) -> None:
    with (
        TradingViewProvider(config_for(server, auth_token="forged-token")) as provider,
        pytest.raises(Rejected, match="TRADINGVIEW_AUTH_TOKEN: bad auth token") as caught,
    ):
        provider.resolve("NASDAQ:AAPL")
    assert "forged-token" not in str(caught.value)


def test_a_token_that_says_it_has_ended_is_not_even_sent(server: SimulatorServer) -> None:
    token = issue(now_ms() - 3_600_000, life_s=60)
    with (
        TradingViewProvider(config_for(server, auth_token=token)) as provider,
        pytest.raises(Rejected, match=r"^The TRADINGVIEW_AUTH_TOKEN expired at \d{4}-\d\d-\d\d \d\d:\d\d UTC\.$"),
    ):
        provider.resolve("NASDAQ:AAPL")
    assert server.connections == 0


def test_heartbeats_without_data_are_silence_and_may_mean_an_expired_token() -> None:
    with SimulatorServer(heartbeat_s=0.05) as server:
        server.faults.set("token_expired")
        config = config_for(server, auth_token=PAID_TOKEN, timeout_s=0.5)
        with TradingViewProvider(config) as provider, pytest.raises(Unavailable) as caught:
            provider.resolve("NASDAQ:AAPL")
    assert str(caught.value) == (
        "TradingView said nothing of NASDAQ:AAPL for 0.5 s. So it is with an expired TRADINGVIEW_AUTH_TOKEN."
    )


def test_one_connection_serves_all_calls(server: SimulatorServer, provider: TradingViewProvider) -> None:
    provider.resolve("NASDAQ:AAPL")
    server.faults.set("handshake_403")  # another one would be refused
    provider.resolve("NASDAQ:MSFT")
    assert len(provider.history("NASDAQ:AAPL", DAY, bars=10).bars) == 10
    assert server.connections == 1


def test_chart_sessions_are_deleted_after_use() -> None:
    with (
        SimulatorServer(max_sessions=2) as server,
        TradingViewProvider(config_for(server)) as provider,
    ):
        for _ in range(6):
            provider.resolve("NASDAQ:AAPL")
            with pytest.raises(Rejected):
                provider.resolve("NASDAQ:NONE")
            pages = provider.pages("NASDAQ:AAPL", DAY, bars=10)
            next(pages)
            pages.close()


@pytest.mark.parametrize("mode", ["close", "reset"])
def test_a_connection_that_died_while_resting_is_replaced(
    server: SimulatorServer, provider: TradingViewProvider, mode: str
) -> None:
    provider.resolve("NASDAQ:AAPL")
    server.faults.set(mode)
    assert provider.resolve("NASDAQ:MSFT").full_name == "BATS:MSFT"


def test_a_connection_that_died_unnoticed_is_replaced_once() -> None:
    """It takes what is sent and never answers, as after a lost route."""
    connections = []

    def handler(peer: ServerConnection) -> None:
        connections.append(peer)
        if len(connections) == 1:
            answer_aapl(peer)
        until_left(peer)

    with serving(handler) as url:
        config = TradingViewConfig(url, url, url, "https://www.tradingview.com", timeout_s=0.3, pause_s=0)
        with TradingViewProvider(config) as provider:
            provider.resolve("NASDAQ:AAPL")
            with pytest.raises(Unavailable, match=r"said nothing of NASDAQ:AAPL for 0\.3 s\.$"):
                provider.resolve("NASDAQ:AAPL")
    assert len(connections) == 2


def answer_aapl(peer: ServerConnection) -> None:
    chart = ""
    while '"create_series"' not in (text := str(peer.recv())):
        chart = text.split('"p":["')[1].split('"')[0]
    for name, parameters in (
        ("symbol_resolved", f'"{chart}","sds_sym_1",{{}}'),
        ("timescale_update", f'"{chart}",{{"sds_1":{{"s":[{{"i":0,"v":[0,1,1,1,1,1]}}],"t":"s1"}}}}'),
        ("series_completed", f'"{chart}","sds_1","streaming","s1"'),
    ):
        peer.send(frames.encode(f'{{"m":"{name}","p":[{parameters}]}}'))


def test_a_connection_lost_between_two_pages_is_unavailable(
    server: SimulatorServer, provider: TradingViewProvider
) -> None:
    pages = provider.pages("BINANCE:BTCUSDT", MINUTE, bars=2500)
    first = next(pages)
    server.faults.set("close")
    with pytest.raises(Unavailable):
        next(pages)
    rest = provider.history("BINANCE:BTCUSDT", MINUTE, bars=2500 - len(first.bars), end_ms=int(first.bars.time_ms[0]))
    assert Bars.concat([rest.bars, first.bars]).same_as(
        server.market.last("BINANCE:BTCUSDT", MINUTE, 2500, OPEN_MINUTE)
    )


def test_a_page_of_a_connection_that_another_call_lost_is_unavailable(
    server: SimulatorServer, provider: TradingViewProvider
) -> None:
    pages = provider.pages("BINANCE:BTCUSDT", MINUTE, bars=2500)
    next(pages)
    server.faults.set("wrong_length", times=1)
    with pytest.raises(Malformed):
        provider.resolve("NASDAQ:AAPL")
    with pytest.raises(Unavailable, match="lost between two pages of BINANCE:BTCUSDT"):
        next(pages)


def test_several_threads_share_a_connection(server: SimulatorServer, provider: TradingViewProvider) -> None:
    found: dict[str, str] = {}

    def resolve(symbol: str) -> None:
        found[symbol] = provider.resolve(symbol).full_name

    threads = [threading.Thread(target=resolve, args=(f"NASDAQ:{name}",)) for name in ("AAPL", "MSFT", "META")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"NASDAQ:AAPL": "BATS:AAPL", "NASDAQ:MSFT": "BATS:MSFT", "NASDAQ:META": "BATS:META"}
    assert server.connections == 1


def test_a_closed_provider_has_no_connection(server: SimulatorServer) -> None:
    with TradingViewProvider(config_for(server)) as provider:
        provider.resolve("NASDAQ:AAPL")
        assert server.connections == 1
    deadline = time.monotonic() + 20
    while server.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.connections == 0
