from dataclasses import fields
from datetime import UTC, datetime

import pytest

from infrastructure.errors import Malformed
from infrastructure.persistence import Database, QuoteStore
from infrastructure.tradingview.base import Quote
from marketdata import models

FULL = Quote(
    symbol="NASDAQ:AAPL", last=189.5, last_ms=1_700_000_000_123, change=-1.5, change_percent=-0.79, bid=189.4,
    ask=189.6, bid_size=100.0, ask_size=200.0, volume=5e7, open=190.0, high=191.0, low=188.0, previous_close=191.0,
    session="market", update_mode="streaming", venue="BATS", currency="USD", description="삼성 Apple",
)  # fmt: skip
BARE = Quote(symbol="TEST:TICK")


def test_quotes_come_back_as_they_were_saved(database: Database) -> None:
    store = QuoteStore(database)
    store.save([(FULL, 1_700_000_001_000), (BARE, 5)])
    store.save([])
    assert store.load() == {"NASDAQ:AAPL": (FULL, 1_700_000_001_000), "TEST:TICK": (BARE, 5)}
    assert store.load(["TEST:TICK", "NO:ONE"]) == {"TEST:TICK": (BARE, 5)}
    assert store.load([]) == {}


def test_a_later_quote_replaces_the_whole_and_an_earlier_one_nothing(database: Database) -> None:
    store = QuoteStore(database)
    later = Quote(symbol=FULL.symbol, last=1.0)
    store.save([(FULL, 1000)])
    store.save([(later, 2000), (BARE, 1)])
    store.save([(FULL, 1999), (Quote("TEST:TICK", last=2.0), 2)])
    assert store.load() == {FULL.symbol: (later, 2000), "TEST:TICK": (Quote("TEST:TICK", last=2.0), 2)}


def test_a_feed_that_was_replaced_changes_nothing_that_the_newer_one_knows(database: Database) -> None:
    """However late its prices are: a process that was paused gives them the time at which it wakes up."""
    store = QuoteStore(database)
    store.save([(FULL, 1000)], 1)
    store.claim(2)
    store.save([(Quote(FULL.symbol, last=1.0), 9000)], 1)
    assert store.load() == {FULL.symbol: (FULL, 1000)}
    store.claim(1)
    store.save([(Quote(FULL.symbol, last=2.0), 2000)], 2)
    store.save([(Quote(FULL.symbol, last=3.0), 3000)])  # a pull, which no feed concerns
    assert store.load() == {FULL.symbol: (Quote(FULL.symbol, last=3.0), 3000)}


def test_the_model_reads_what_the_store_writes(database: Database) -> None:
    QuoteStore(database).save([(FULL, 1_700_000_001_000)])
    row = models.Quote.objects.get(pk="NASDAQ:AAPL")
    assert row.last_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert row.updated_at == datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC)
    same = [field.name for field in fields(Quote) if field.name != "last_ms"]
    assert {name: getattr(row, name) for name in same} == {name: getattr(FULL, name) for name in same}
    stored = database.collection("quote").find_one()
    assert stored is not None
    assert set(stored) == {field.column for field in models.Quote._meta.concrete_fields}


def test_a_time_nobody_can_keep_is_malformed_and_nothing_is_saved(database: Database) -> None:
    store = QuoteStore(database)
    with pytest.raises(Malformed):
        store.save([(BARE, 1), (Quote("A:A", last_ms=10**18), 1)])
    assert store.load() == {}
