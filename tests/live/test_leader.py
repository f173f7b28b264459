"""What the leading feed does when it is due, at times that the test says; its stores are real."""

import json
import time
from collections.abc import Iterator
from functools import partial

import pytest

from infrastructure.errors import Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, QuoteStore
from infrastructure.persistence.live import LiveCache
from infrastructure.tradingview.base import SeriesBegun, SymbolRefused, Wanted
from marketdata.live.leader import LOOK_EVERY_S, SAVE_EVERY_S, Leader
from marketdata.live.wanted import Streamable
from marketdata.models import Symbol
from tests.live.source import Source

START = 1000.0
HANG_S = 20.0


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def leader(database: Database, cache: LiveCache, source: Source) -> Iterator[Leader]:
    BarStore(database).ensure()
    leader = Leader(database, cache, source, 1, lambda: True, "simulator", True)
    leader.start()
    yield leader
    leader.close()


def heard(cache: LiveCache, source: Source, symbol: str, last: float) -> None:
    """Said by the source, and known to the leader: what it publishes it will also save."""
    source.quote(symbol, last=last)
    deadline = time.monotonic() + HANG_S
    while json.loads(cache.quotes().get(symbol, b"{}")).get("last") != last:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def saved(database: Database) -> dict[str, float | None]:
    return {symbol: quote.last for symbol, (quote, _at) in QuoteStore(database).load().items()}


def test_quotes_are_saved_at_most_every_five_seconds_a_symbol(
    database: Database, cache: LiveCache, leader: Leader, source: Source
) -> None:
    def after(last: float, now: float) -> dict[str, float | None]:
        heard(cache, source, "TEST:TICK", last)
        heard(cache, source, "NASDAQ:AAPL", last + 0.5)
        leader.step(now)
        return saved(database)

    assert SAVE_EVERY_S == 5.0
    first = {"TEST:TICK": 1.0, "NASDAQ:AAPL": 1.5}
    assert after(1.0, START) == first
    for tenths in range(1, 50):
        assert after(1.0 + tenths, START + tenths / 10) == first
    second = {"TEST:TICK": 99.0, "NASDAQ:AAPL": 99.5}
    assert after(99.0, START + 5.0) == second
    assert after(100.0, START + 9.9) == second


def test_bars_are_paused_while_the_database_is_away_and_too_many_wait(
    leader: Leader, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    Symbol.objects.create(key="TEST:BARS", stream_intervals=["1m"])
    leader.step(START)
    assert source.wanted.bars

    def away() -> dict[str, Streamable]:
        raise Unavailable("MongoDB does not answer.")

    monkeypatch.setattr("marketdata.live.leader.streamable", away)
    monkeypatch.setattr("marketdata.live.leader.FULL", 10)
    source.say(SeriesBegun("TEST:BARS", INTERVALS["1m"], 0))
    monkeypatch.setattr("marketdata.live.holes.Holes.waiting", 10)
    with pytest.raises(Unavailable):
        leader.step(START + LOOK_EVERY_S)
    assert source.wanted == Wanted(source.wanted.quotes)
    assert "TEST:BARS" in source.wanted.quotes


def test_with_a_slow_database_parts_wait_for_the_next_step_so_that_the_lease_is_renewed(
    leader: Leader, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("marketdata.live.leader.STEP_S", 0.0)
    every = {partial(done.append, name): 1.0 for name in ("look", "save", "refusals")}
    monkeypatch.setattr(leader, "_every", every)
    monkeypatch.setattr(leader, "_done_at", dict.fromkeys(every, float("-inf")))
    for now in range(4):
        leader.step(START + now)
    assert done == ["look", "save", "refusals", "look"]


def test_refusals_are_noted_on_their_symbols_and_wait_for_the_database(
    leader: Leader, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("A:B", "A:C"):
        Symbol.objects.create(key=key)
    leader.step(START)
    for key in ("A:B", "A:C"):
        source.say(SymbolRefused(key, "no such symbol"))
    with monkeypatch.context() as away:
        away.setattr("marketdata.live.leader.STORE_LIMIT_S", 1e-9)
        with pytest.raises(Unavailable):
            leader.step(START + 1)
    leader.step(START + 2)
    noted = {symbol.key: symbol.error for symbol in Symbol.objects.filter(key__in=["A:B", "A:C"])}
    assert noted == dict.fromkeys(["A:B", "A:C"], "Not streamed: no such symbol")


def test_a_refusal_is_taken_back_when_the_last_of_it_is_streamed_after_all(leader: Leader, source: Source) -> None:
    def error() -> str:
        leader.step(START)
        return str(Symbol.objects.get(pk="A:B").error)

    Symbol.objects.create(key="A:B", stream_intervals=["1m"])
    source.say(SymbolRefused("A:B", "no permission"))
    source.say(SymbolRefused("A:B", "no room", INTERVALS["1m"]))
    assert error() == "Not streamed: no room"
    source.say(SeriesBegun("A:B", INTERVALS["1m"], 0))
    assert error() == "Not streamed: no room"
    source.quote("A:B", last=1.0)
    assert error() == ""
    source.say(SymbolRefused("A:B", "no room", INTERVALS["5m"]))
    assert error() == "Not streamed: no room"
    leader.step(START + LOOK_EVERY_S)  # which finds that nobody wants those bars
    assert error() == ""
    Symbol.objects.filter(pk="A:B").update(error="It could not be resolved.")
    source.say(SymbolRefused("A:C", "no permission"))
    source.quote("A:C", last=1.0)
    source.quote("A:B", last=1.0)
    assert error() == "It could not be resolved."


def test_a_symbol_without_news_is_not_written_again(
    database: Database, cache: LiveCache, leader: Leader, source: Source
) -> None:
    heard(cache, source, "TEST:TICK", 1.0)
    leader.step(START)
    database.collection("quote").delete_many({})
    heard(cache, source, "NASDAQ:AAPL", 2.0)
    leader.step(START + 5.0)
    assert saved(database) == {"NASDAQ:AAPL": 2.0}
