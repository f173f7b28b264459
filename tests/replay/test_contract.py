"""Both implementations of each port keep the same promises: TradingView's on a simulator, the replay on a recording."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.errors import Rejected
from infrastructure.intervals import INTERVALS
from infrastructure.replay import ReplayConfig, ReplayProvider, ReplayStreamProvider
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import IDataProvider, IStreamProvider, TradingViewProvider, TradingViewWebSocketProvider
from infrastructure.tradingview.base import (
    BarUpdate,
    QuoteUpdate,
    SeriesBegun,
    StreamState,
    SymbolRefused,
    Wanted,
)
from tests.replay.recording import END_MS, SYMBOLS, WANTED, expected_quote, heard_quote, recorded
from tests.tradingview.listening import Sink
from tests.tradingview.settings_for import config_for
from tests.tradingview.wishes import MINUTE

NONE = "NASDAQ:NONE"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "capture"
    recorded(path)
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    """At the moment at which the recording ends."""
    with SimulatorServer(clock=StandingClock(END_MS)) as running:
        yield running


@pytest.fixture(params=["tradingview", "replay"])
def stream(request: pytest.FixtureRequest, server: SimulatorServer, recording: Path) -> Iterator[IStreamProvider]:
    if request.param == "replay":
        running: IStreamProvider = ReplayStreamProvider(ReplayConfig(recording, 1_000_000))
    else:
        running = TradingViewWebSocketProvider(config_for(server))
    yield running
    running.close()


@pytest.fixture(params=["tradingview", "replay"])
def provider(request: pytest.FixtureRequest, server: SimulatorServer, recording: Path) -> Iterator[IDataProvider]:
    if request.param == "replay":
        running: IDataProvider = ReplayProvider(recording)
    else:
        running = TradingViewProvider(config_for(server))
    with running:
        yield running


def test_the_first_quote_is_full_and_all_add_up_to_the_markets(
    stream: IStreamProvider, server: SimulatorServer
) -> None:
    sink = Sink()
    stream.want(WANTED)
    stream.start(sink)
    for symbol in SYMBOLS:
        sink.until(lambda _, s=symbol: heard_quote(sink, s) == expected_quote(server.market, s))
        assert len(sink.of(QuoteUpdate, symbol)[0].changes) == 18


def test_bars_begin_and_follow_each_other_to_the_markets(stream: IStreamProvider, server: SimulatorServer) -> None:
    sink = Sink()
    stream.want(WANTED)
    stream.start(sink)
    for symbol in SYMBOLS:
        forming = server.market.forming(symbol, MINUTE, END_MS)
        sink.until(lambda _, s=symbol, bar=forming: any(str(e.bar) == str(bar) for e in sink.of(BarUpdate, s)))
        said = [e for e in sink.events if isinstance(e, SeriesBegun | BarUpdate) and e.symbol == symbol]
        assert isinstance(said[0], SeriesBegun)
        assert said[0].from_ms == said[1].bar.time_ms
        closed = {e.bar.time_ms: e.bar for e in said if isinstance(e, BarUpdate) and e.closed}
        assert forming is not None
        from_market = server.market.bars(symbol, MINUTE, min(closed), forming.time_ms)
        assert str([closed[ms] for ms in sorted(closed)]) == str(list(from_market))


def test_nothing_wanted_is_stopped_and_a_later_wish_is_followed(
    stream: IStreamProvider, server: SimulatorServer
) -> None:
    sink = Sink()
    stream.start(sink)
    sink.until_states("stopped")
    assert sink.of(StreamState)[0].reason == "Nothing is wanted."
    stream.want(Wanted(frozenset({"TEST:TICK"})))
    sink.until(lambda _: heard_quote(sink, "TEST:TICK") == expected_quote(server.market, "TEST:TICK"))
    before = len(sink.events)
    stream.want(Wanted(frozenset({"NASDAQ:AAPL"}), frozenset({("TVC:RUT", MINUTE)})))
    sink.until(lambda _: heard_quote(sink, "NASDAQ:AAPL") == expected_quote(server.market, "NASDAQ:AAPL"))
    forming = str(server.market.forming("TVC:RUT", MINUTE, END_MS))
    sink.until(lambda _: any(str(e.bar) == forming for e in sink.of(BarUpdate, "TVC:RUT")))
    later = sink.events[before:]
    first = next(e for e in later if isinstance(e, QuoteUpdate) and e.symbol == "NASDAQ:AAPL")
    assert len(first.changes) == 18
    assert {e.symbol for e in later if isinstance(e, BarUpdate | SeriesBegun)} == {"TVC:RUT"}
    stream.want(Wanted())
    sink.until(lambda _: sink.states[-1] == "stopped" and sink.of(StreamState)[-1].reason == "Nothing is wanted.")


def test_what_the_source_does_not_have_is_refused_once_and_the_others_flow(stream: IStreamProvider) -> None:
    sink = Sink()
    stream.want(Wanted(frozenset({NONE, "TEST:TICK"}), frozenset({(NONE, MINUTE), ("TEST:TICK", MINUTE)})))
    stream.start(sink)
    sink.until(lambda _: len(sink.of(SymbolRefused)) == 2 and sink.of(QuoteUpdate) and sink.of(BarUpdate))
    stream.want(Wanted(frozenset({NONE, "TEST:TICK", "TVC:RUT"}), frozenset({(NONE, MINUTE)})))
    sink.until(lambda _: sink.of(QuoteUpdate, "TVC:RUT"))
    refused = sink.of(SymbolRefused)
    assert {(e.symbol, e.interval) for e in refused} == {(NONE, None), (NONE, MINUTE)}
    assert len(refused) == 2
    assert all(e.reason for e in refused)
    assert not sink.together


def test_nothing_is_heard_after_the_close(stream: IStreamProvider) -> None:
    sink = Sink()
    stream.want(WANTED)
    stream.start(sink)
    sink.until_quotes("TEST:TICK")
    stream.close()
    count = len(sink.events)
    stream.want(Wanted(frozenset({"TVC:RUT"})))
    assert len(sink.events) == count


def test_a_symbol_is_resolved_to_what_the_market_says(provider: IDataProvider, server: SimulatorServer) -> None:
    assert {symbol: provider.resolve(symbol) for symbol in SYMBOLS} == {
        symbol: server.market.info(symbol) for symbol in SYMBOLS
    }


def test_what_the_source_does_not_have_is_rejected(provider: IDataProvider) -> None:
    for ask in (
        lambda: provider.resolve(NONE),
        lambda: list(provider.pages(NONE, MINUTE, bars=5)),
        lambda: list(provider.pages("TEST:TICK", MINUTE, bars=0)),
        lambda: list(provider.pages("TEST:TICK", MINUTE, start_ms=5, end_ms=5)),
    ):
        with pytest.raises(Rejected):
            ask()
    assert provider.quotes([NONE]) == {}


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_the_last_bars_are_the_markets(provider: IDataProvider, server: SimulatorServer, symbol: str) -> None:
    history = provider.history(symbol, MINUTE, bars=5)
    forming = server.market.forming(symbol, MINUTE, END_MS)
    assert forming is not None
    assert str(history.forming) == str(forming)
    assert history.bars.same_as(server.market.last(symbol, MINUTE, 5, forming.time_ms))
    assert (history.info.symbol, history.interval, history.ended) == (symbol, MINUTE, "")


def test_a_range_is_exact_at_both_ends(provider: IDataProvider, server: SimulatorServer) -> None:
    end_ms = END_MS - END_MS % 60_000 - 60_000
    start_ms = end_ms - 4 * 60_000
    history = provider.history("TEST:TICK", MINUTE, start_ms=start_ms, end_ms=end_ms)
    assert history.bars.same_as(server.market.bars("TEST:TICK", MINUTE, start_ms, end_ms))
    assert history.forming is None


def test_a_range_without_bars_is_one_empty_page(provider: IDataProvider) -> None:
    far_ms = END_MS + 86_400_000
    (page,) = provider.pages("TEST:TICK", MINUTE, start_ms=far_ms, end_ms=far_ms + 60_000)
    assert (len(page.bars), page.forming, page.ended) == (0, None, "")


def test_quotes_are_present_ones(provider: IDataProvider, server: SimulatorServer) -> None:
    found = provider.quotes(["NASDAQ:AAPL", NONE])
    expected = server.market.quote("NASDAQ:AAPL", END_MS)
    assert {symbol: (q.last, q.volume) for symbol, q in found.items()} == {
        "NASDAQ:AAPL": (expected.last, expected.volume)
    }


def test_a_search_finds_a_symbol_by_its_name(provider: IDataProvider) -> None:
    (match,) = provider.search("NASDAQ:AAPL", limit=1)
    assert (match.symbol, match.description, match.type, match.currency) == (
        "NASDAQ:AAPL", "Apple Inc.", "stock", "USD",
    )  # fmt: skip
    assert provider.search("no such thing anywhere") == []


def test_an_interval_that_was_not_asked_for_is_rejected_by_the_recording(recording: Path) -> None:
    with pytest.raises(Rejected, match=r"^The recording capture holds no 5m bars of TEST:TICK\.$"):
        ReplayProvider(recording).history("TEST:TICK", INTERVALS["5m"], bars=1)


def test_the_recordings_oldest_bar_is_a_limit_and_no_end(recording: Path) -> None:
    assert ReplayProvider(recording).history("TEST:TICK", MINUTE).ended == "limit"
