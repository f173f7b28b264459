"""Search and quotes alike: trouble is told apart, the cookie stays hidden, the simulator answers."""

import logging

import pytest

from infrastructure.errors import Malformed, Rejected, Throttled, Unavailable
from infrastructure.http_client import HttpClient, HttpRejected
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview.http import TradingViewHttp
from tests.loopback import Answer, Loopback, page
from tests.tradingview.http_source import COOKIE, against


@pytest.mark.parametrize("call", ["search", "quotes"])
def test_trouble_is_told_apart(http: HttpClient, call: str) -> None:
    answers = [page(), Answer(), page(403), Answer(404), page(503), Answer(429, headers={"Retry-After": "60"})]
    errors: list[tuple[type, str]] = []
    with Loopback(*answers) as server:
        for _ in range(5):
            with pytest.raises((Malformed, Rejected, Unavailable)) as caught:
                getattr(against(server, http), call)("XY")
            errors.append((caught.type, str(caught.value)))
    host = f"127.0.0.1:{server.port}"
    assert errors == [
        (Malformed, f"{host} sent a web page instead of JSON."),
        (Malformed, f"{host} sent nothing instead of JSON."),
        (
            Rejected,
            f"{host} answered 403: TradingView refuses this machine's address or the TRADINGVIEW_ORIGIN. "
            "Data centres are often refused; try from another network.",
        ),
        (HttpRejected, f"{host} answered 404."),
        (Throttled, f"{host} answered 429."),  # 503 was tried again
    ]


def test_the_cookie_is_in_no_log_and_no_error(http: HttpClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Loopback(page(503)) as server, pytest.raises(Unavailable) as caught:
        against(server, http).search("x")
    assert caplog.records
    assert COOKIE not in caplog.text + str(caught.value) + repr(against(server, http))


def source_of(server: SimulatorServer, http: HttpClient) -> TradingViewHttp:
    return TradingViewHttp(http, server.http_url, server.http_url, "https://www.tradingview.com")


@pytest.mark.parametrize(
    ("text", "type", "first"),
    [
        ("AAPL", "stock", "NASDAQ:AAPL"),
        ("nasdaq:aapl", "", "NASDAQ:AAPL"),
        ("ES", "futures", "CME_MINI:ES1!"),
        ("BTCUSDT", "spot", "BINANCE:BTCUSDT"),
        ("FB", "", "NASDAQ:META"),
        ("005930", "", "KRX:005930"),
    ],
)
def test_the_simulator_is_searched(
    simulator: SimulatorServer, http: HttpClient, text: str, type: str, first: str
) -> None:
    assert source_of(simulator, http).search(text, type=type, limit=5)[0].symbol == first


def test_quotes_of_the_simulator_are_those_of_its_market(simulator: SimulatorServer, http: HttpClient) -> None:
    wanted = ["TEST:TICK", "LSE:VOD", "TEST:NOTHING", "KRX:005930"]
    found = source_of(simulator, http).quotes(wanted)
    assert list(found) == ["TEST:TICK", "LSE:VOD", "KRX:005930"]
    assert {symbol: (quote.currency, quote.delay_s) for symbol, quote in found.items()} == {
        "TEST:TICK": ("USD", 0),
        "LSE:VOD": ("GBX", 900),
        "KRX:005930": ("KRW", 0),
    }
    assert all(
        quote.last and quote.low and quote.high and quote.low <= quote.last <= quote.high for quote in found.values()
    )


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ("http_html", Malformed), ("http_empty", Malformed), ("http_403", Rejected), ("http_503", Unavailable),
        ("http_429", Unavailable), ("scanner_error", Rejected),
    ],
)  # fmt: skip
def test_faults_of_the_simulator_are_told_apart(http: HttpClient, mode: str, error: type[Exception]) -> None:
    with SimulatorServer() as server:
        server.faults.set(mode)
        with pytest.raises(error):
            source_of(server, http).quotes(["TEST:TICK"])
