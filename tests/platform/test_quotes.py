import pytest

from infrastructure.errors import Malformed
from infrastructure.intervals import MINUTE_MS
from infrastructure.persistence import Database, QuoteStore
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.base import Quote
from marketdata.models import Symbol
from marketdata.services.quotes import Refreshed, completed, is_due, refresh
from tests.platform.conftest import NOW_MS, add_symbol

COIN, KOREAN = "BINANCE:BTCUSDT", "KRX:005930"


def test_missing_quotes_are_fetched_and_fresh_ones_are_not_asked_for(
    provider: IDataProvider, source: SimulatorServer
) -> None:
    for key in (COIN, KOREAN, "NASDAQ:MSFT"):
        add_symbol(provider, key)
    Symbol.objects.create(key="NASDAQ:OFF", active=False)
    store = QuoteStore(Database())
    streamed = Quote("NASDAQ:MSFT", last=1.0)
    store.save([(streamed, NOW_MS - 30_000)])
    assert refresh(provider, NOW_MS) == Refreshed(asked=2, received=2)
    stored = store.load()
    assert stored["NASDAQ:MSFT"] == (streamed, NOW_MS - 30_000)
    for key in (COIN, KOREAN):
        assert (stored[key][0].last, stored[key][1]) == (source.market.quote(key, NOW_MS).last, NOW_MS)
    assert refresh(provider, NOW_MS) == Refreshed(asked=0, received=0)


def test_a_quote_of_a_closed_market_may_be_older(provider: IDataProvider, source: SimulatorServer) -> None:
    korean, coin = add_symbol(provider, KOREAN), add_symbol(provider, COIN)
    age = (Quote("X"), NOW_MS - 2 * MINUTE_MS)
    assert (is_due(coin, age, NOW_MS), is_due(korean, age, NOW_MS)) == (True, False)
    assert is_due(korean, (Quote("X"), NOW_MS - 31 * MINUTE_MS), NOW_MS)
    assert is_due(korean, None, NOW_MS)


def test_what_an_http_quote_leaves_out_is_kept_unless_it_ages() -> None:
    stored = Quote("X", last=5.0, last_ms=7, bid=4.0, venue="BATS", previous_close=3.0, update_mode="streaming")
    same = completed(Quote("X", last=5.0, volume=9.0), (stored, 1))
    assert same == Quote(
        "X", last=5.0, last_ms=7, volume=9.0, venue="BATS", previous_close=3.0, update_mode="streaming"
    )
    assert completed(Quote("X", last=6.0), (stored, 1)).last_ms is None
    assert completed(same, None) is same


@pytest.mark.parametrize("fault", ["http_html", "http_empty"])
def test_a_page_instead_of_quotes_is_malformed_and_nothing_is_stored(
    provider: IDataProvider, source: SimulatorServer, fault: str
) -> None:
    add_symbol(provider, COIN)
    source.faults.set(fault)
    with pytest.raises(Malformed):
        refresh(provider, NOW_MS)
    assert QuoteStore(Database()).load() == {}
