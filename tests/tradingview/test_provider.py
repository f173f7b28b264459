"""What the provider makes of the simulator's market: symbols, histories in pages, ranges, quotes."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from infrastructure.bars import Bars
from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.intervals import INTERVALS, Interval
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import TradingViewConfig, TradingViewProvider
from infrastructure.tradingview.base import History, Quote
from tests.tradingview.friday import FRIDAY as NOW
from tests.tradingview.friday import OPEN_MINUTE, paged
from tests.tradingview.settings_for import config_for

MINUTE, FIVE, HOUR, DAY, WEEK = (INTERVALS[name] for name in ("1m", "5m", "1h", "1d", "1w"))
server = pytest.fixture(paged)


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


def test_two_histories_may_be_read_in_turns(server: SimulatorServer, provider: TradingViewProvider) -> None:
    symbols = ("BINANCE:BTCUSDT", "TEST:TICK")
    readers = [provider.pages(symbol, MINUTE, bars=1500) for symbol in symbols]
    pages = list(zip(*readers, strict=True))
    for n, symbol in enumerate(symbols):
        assert joined([pair[n] for pair in pages]).same_as(server.market.last(symbol, MINUTE, 1500, OPEN_MINUTE))


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


def test_the_settings_make_one() -> None:
    provider = TradingViewProvider.from_settings()
    assert provider.config == TradingViewConfig.from_settings()
    provider.close()
