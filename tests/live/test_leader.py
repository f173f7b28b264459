"""What the leading feed does when it is due, at times that the test says; its stores are real."""

import json
import time
from collections.abc import Iterator

import pytest

from infrastructure.persistence import BarStore, Database, QuoteStore
from infrastructure.persistence.live import LiveCache
from marketdata.live.leader import SAVE_EVERY_S, Leader
from tests.live.source import Source
from tests.persistence.conftest import RedisServer

START = 1000.0
HANG_S = 20.0


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(redis_server: RedisServer) -> LiveCache:
    return LiveCache(redis_server.url)


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


def test_a_symbol_without_news_is_not_written_again(
    database: Database, cache: LiveCache, leader: Leader, source: Source
) -> None:
    heard(cache, source, "TEST:TICK", 1.0)
    leader.step(START)
    database.collection("quote").delete_many({})
    heard(cache, source, "NASDAQ:AAPL", 2.0)
    leader.step(START + 5.0)
    assert saved(database) == {"NASDAQ:AAPL": 2.0}
