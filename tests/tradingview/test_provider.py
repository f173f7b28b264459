import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from websockets.sync.server import ServerConnection

from infrastructure.bars import Bars
from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable
from infrastructure.intervals import INTERVALS, Interval
from infrastructure.simulator import PAID_TOKEN, SimulatorServer, StandingClock
from infrastructure.simulator.tokens import issue
from infrastructure.tradingview import TradingViewConfig, TradingViewProvider, frames
from infrastructure.tradingview.base import History, Quote
from infrastructure.tradingview.line import now_ms
from infrastructure.tradingview.pace import Pace
from tests.tradingview.settings_for import config_for
from tests.tradingview.wire_server import serving, until_left

MINUTE, FIVE, HOUR, DAY, WEEK = (INTERVALS[name] for name in ("1m", "5m", "1h", "1d", "1w"))
#: A Friday with New York, London, Chicago and the coins open: 10:07:31 in New York.
NOW = int(datetime(2026, 11, 20, 15, 7, 31, tzinfo=UTC).timestamp() * 1000)
OPEN_MINUTE = NOW - NOW % 60_000


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(clock=StandingClock(NOW), anonymous_page=1000, anonymous_depth=6000) as running:
        yield running


@pytest.fixture
def provider(server: SimulatorServer) -> Iterator[TradingViewProvider]:
    with TradingViewProvider(config_for(server, page_bars=1000)) as running:
        yield running


def joined(pages: list[History]) -> Bars:
    return Bars.concat([page.bars for page in reversed(pages)])


def test_a_symbol_is_resolved_to_where_its_prices_come_from(
    server: SimulatorServer, provider: TradingViewProvider
) -> None:
    for symbol in ("NASDAQ:AAPL", "LSE:VOD", "TVC:RUT", "CME_MINI:ES1!", "KRX:005930", "TEST:UTF16", "TEST:DAILY"):
        assert provider.resolve(symbol) == replace(server.market.info(symbol), symbol=symbol)


def test_an_older_name_is_resolved_too(server: SimulatorServer, provider: TradingViewProvider) -> None:
    assert provider.resolve("NASDAQ:FB") == replace(server.market.info("NASDAQ:META"), symbol="NASDAQ:FB")


@pytest.mark.parametrize(
    ("symbol", "interval", "count"),
    [
        ("BINANCE:BTCUSDT", MINUTE, 3500),
        ("NASDAQ:AAPL", FIVE, 1200),
        ("NASDAQ:AAPL", DAY, 2500),
        ("CME_MINI:ES1!", HOUR, 300),
        ("TVC:RUT", MINUTE, 30),
        ("FX:EURUSD", WEEK, 60),
        ("KRX:005930", DAY, 5),
        ("TEST:RARE", MINUTE, 1),
    ],
)
def test_the_last_bars_are_the_markets_in_pages_that_never_overlap(
    server: SimulatorServer, provider: TradingViewProvider, symbol: str, interval: Interval, count: int
) -> None:
    pages = list(provider.pages(symbol, interval, bars=count))
    forming = server.market.forming(symbol, interval, NOW)
    before = NOW if forming is None else forming.time_ms
    assert joined(pages).same_as(server.market.last(symbol, interval, count, before))
    assert str(pages[0].forming) == str(forming)  # as text: a volume of NaN is not equal to itself
    assert [page.forming for page in pages[1:]] == [None] * (len(pages) - 1)
    assert pages[-1].ended == ""


def test_the_last_bar_of_a_delayed_feed_is_the_one_before_its_delay(
    server: SimulatorServer, provider: TradingViewProvider
) -> None:
    page = provider.history("LSE:VOD", MINUTE, bars=20)
    assert page.info.delay_s == 900
    assert page.forming == server.market.forming("LSE:VOD", MINUTE, NOW)
    assert page.bars.same_as(server.market.last("LSE:VOD", MINUTE, 20, OPEN_MINUTE - 900_000))


def test_a_range_is_exact_at_both_ends(server: SimulatorServer, provider: TradingViewProvider) -> None:
    start, end = OPEN_MINUTE - 2500 * 60_000, OPEN_MINUTE - 1200 * 60_000
    pages = list(provider.pages("BINANCE:BTCUSDT", MINUTE, start_ms=start, end_ms=end))
    assert joined(pages).same_as(server.market.bars("BINANCE:BTCUSDT", MINUTE, start, end))
    assert [page.forming for page in pages] == [None] * len(pages)


def test_a_range_of_the_last_few_minutes_is_one_page(server: SimulatorServer, provider: TradingViewProvider) -> None:
    start = OPEN_MINUTE - 3 * 60_000
    (page,) = provider.pages("BINANCE:BTCUSDT", MINUTE, start_ms=start)
    assert page.bars.same_as(server.market.bars("BINANCE:BTCUSDT", MINUTE, start, OPEN_MINUTE))
    assert page.forming == server.market.forming("BINANCE:BTCUSDT", MINUTE, NOW)


def test_a_range_without_bars_is_one_empty_page(provider: TradingViewProvider) -> None:
    saturday = int(datetime(2026, 11, 14, tzinfo=UTC).timestamp() * 1000)
    (page,) = provider.pages("NASDAQ:AAPL", HOUR, start_ms=saturday, end_ms=saturday + 86_400_000)
    assert (len(page.bars), page.forming, page.ended) == (0, None, "")


def test_a_range_older_than_the_first_bar_ends(provider: TradingViewProvider) -> None:
    pages = list(provider.pages("NASDAQ:NEWCO", DAY, end_ms=0))
    assert (len(joined(pages)), pages[-1].ended) == (0, "end")


def test_a_short_history_ends_at_its_first_bar(server: SimulatorServer, provider: TradingViewProvider) -> None:
    pages = list(provider.pages("NASDAQ:NEWCO", HOUR, bars=5000))
    first = server.market.first_ms("NASDAQ:NEWCO", HOUR)
    forming = server.market.forming("NASDAQ:NEWCO", HOUR, NOW)
    assert forming is not None
    assert joined(pages).same_as(server.market.bars("NASDAQ:NEWCO", HOUR, first, forming.time_ms))
    assert [page.ended for page in pages] == [""] * (len(pages) - 1) + ["end"]


def test_the_plans_depth_ends_a_history_with_a_limit(server: SimulatorServer, provider: TradingViewProvider) -> None:
    history = provider.history("BINANCE:BTCUSDT", MINUTE, bars=50_000)
    assert history.ended == "limit"
    assert history.bars.same_as(
        server.market.bars("BINANCE:BTCUSDT", MINUTE, int(history.bars.time_ms[0]), OPEN_MINUTE)
    )
    assert 5900 < len(history.bars) <= 6000


@pytest.mark.parametrize(
    "mode",
    [
        "overlap",
        "out_of_order",
        "outside_range",
        "duplicate_completed",
        "heartbeat_with_data",
        "heartbeat_between",
        "clock_skew",
    ],
)
def test_oddities_of_the_server_change_nothing(
    server: SimulatorServer, provider: TradingViewProvider, mode: str
) -> None:
    server.faults.set(mode, value=3)
    pages = list(provider.pages("BINANCE:BTCUSDT", MINUTE, bars=2500))
    assert joined(pages).same_as(server.market.last("BINANCE:BTCUSDT", MINUTE, 2500, OPEN_MINUTE))


def test_frames_one_by_one_say_the_same_as_in_one_message() -> None:
    with (
        SimulatorServer(clock=StandingClock(NOW), batching=False) as server,
        TradingViewProvider(config_for(server)) as provider,
    ):
        history = provider.history("NASDAQ:AAPL", DAY, bars=300)
        assert history.bars.same_as(
            server.market.last("NASDAQ:AAPL", DAY, 300, history.forming.time_ms if history.forming else NOW)
        )


def test_a_first_answer_without_its_bars_is_asked_for_again(
    server: SimulatorServer, provider: TradingViewProvider
) -> None:
    server.faults.set("completed_without_data", times=1)
    pages = list(provider.pages("BINANCE:BTCUSDT", MINUTE, bars=2500))
    assert joined(pages).same_as(server.market.last("BINANCE:BTCUSDT", MINUTE, 2500, OPEN_MINUTE))
    assert pages[0].forming == server.market.forming("BINANCE:BTCUSDT", MINUTE, NOW)


def test_an_older_page_that_got_lost_leaves_no_hole(server: SimulatorServer, provider: TradingViewProvider) -> None:
    """The server believes that it has sent it, and would go on below."""
    pages = provider.pages("BINANCE:BTCUSDT", MINUTE, bars=2500)
    next(pages)
    server.faults.set("completed_without_data", times=1)
    with pytest.raises(Unavailable, match=r"^TradingView left out 1000 bars of BINANCE:BTCUSDT\.$"):
        next(pages)


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


def test_an_unknown_symbol_is_rejected_at_once_and_the_next_one_answered(provider: TradingViewProvider) -> None:
    for ask in (provider.resolve, lambda symbol: list(provider.pages(symbol, MINUTE, bars=5))):
        with pytest.raises(Rejected, match="TradingView has no symbol NASDAQ:NONE for this account: invalid symbol"):
            ask("NASDAQ:NONE")
    assert provider.resolve("NASDAQ:AAPL").full_name == "BATS:AAPL"


def test_a_symbol_without_permission_is_rejected_with_the_group(provider: TradingViewProvider) -> None:
    with pytest.raises(Rejected, match="permission denied group simulated_paid_data"):
        provider.resolve("TEST:DENIED")


def test_bars_that_a_symbol_does_not_have_are_rejected(provider: TradingViewProvider) -> None:
    with pytest.raises(Rejected, match="TradingView has no 5m bars of TEST:DAILY: unsupported resolution"):
        list(provider.pages("TEST:DAILY", FIVE, bars=5))


@pytest.mark.parametrize("limits", [{"bars": 0}, {"bars": -1}, {"start_ms": 5, "end_ms": 5}])
def test_impossible_requests_are_rejected_before_anything_is_sent(
    server: SimulatorServer, provider: TradingViewProvider, limits: dict[str, int]
) -> None:
    with pytest.raises(Rejected):
        provider.pages("NASDAQ:AAPL", MINUTE, **limits)
    assert server.connections == 0


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


def test_two_histories_may_be_read_in_turns(server: SimulatorServer, provider: TradingViewProvider) -> None:
    symbols = ("BINANCE:BTCUSDT", "TEST:TICK")
    readers = [provider.pages(symbol, MINUTE, bars=1500) for symbol in symbols]
    pages = list(zip(*readers, strict=True))
    for n, symbol in enumerate(symbols):
        assert joined([pair[n] for pair in pages]).same_as(server.market.last(symbol, MINUTE, 1500, OPEN_MINUTE))


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


def test_search_and_quotes_go_over_http(server: SimulatorServer, provider: TradingViewProvider) -> None:
    (match,) = provider.search("NASDAQ:AAPL", limit=1)
    assert (match.symbol, match.description, match.currency) == ("NASDAQ:AAPL", "Apple Inc.", "USD")
    quote = server.market.quote("NASDAQ:AAPL", NOW)
    (found,) = provider.quotes(["NASDAQ:AAPL", "NASDAQ:NONE"]).values()
    assert isinstance(found, Quote)
    assert (found.symbol, found.last, found.volume) == ("NASDAQ:AAPL", quote.last, quote.volume)
    assert server.connections == 0


def test_a_page_instead_of_json_is_malformed(server: SimulatorServer, provider: TradingViewProvider) -> None:
    server.faults.set("http_html")
    for call in (lambda: provider.search("AAPL"), lambda: provider.quotes(["NASDAQ:AAPL"])):
        with pytest.raises(Malformed, match="web page instead of JSON"):
            call()


def test_a_closed_provider_has_no_connection(server: SimulatorServer) -> None:
    with TradingViewProvider(config_for(server)) as provider:
        provider.resolve("NASDAQ:AAPL")
        assert server.connections == 1
    deadline = time.monotonic() + 20
    while server.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.connections == 0


def test_the_settings_make_one() -> None:
    provider = TradingViewProvider.from_settings()
    assert provider.config == TradingViewConfig.from_settings()
    provider.close()
