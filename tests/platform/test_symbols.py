from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from infrastructure.errors import Rejected, Unavailable
from infrastructure.intervals import MINUTE_MS
from infrastructure.persistence import BarStore, Cache, keys
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import IDataProvider
from marketdata.models import Symbol
from marketdata.services import pulls, symbols
from tests.platform.conftest import MINUTE, NOW_MS, add_symbol

APPLE = "NASDAQ:AAPL"


@pytest.mark.parametrize(
    "text",
    ["NASDAQ:AAPL", " nasdaq:aapl ", "CME_MINI:ES1!", "KRX:005930", "NSE:M&M", "BINANCE:BTCUSDT.P", "NYSE:BRK.B"],
)
def test_keys_are_written_in_capitals(text: str) -> None:
    assert symbols.key_of(text) == text.strip().upper()


@pytest.mark.parametrize(
    "text", ["", "AAPL", ":AAPL", "NASDAQ:", "NASDAQ:A B", "NASDAQ:A@1M", "A|B:C", "X:" + "Y" * 40]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Rejected, match="is not of the form EXCHANGE:TICKER"):
        symbols.key_of(text)


def test_a_new_symbol_holds_what_the_source_says(provider: IDataProvider, source: SimulatorServer) -> None:
    add_symbol(provider, APPLE, "1m", active=False)
    row = Symbol.objects.get()
    assert {name: getattr(row, name) for name in symbols.facts(source.market.info(APPLE))} == symbols.facts(
        source.market.info(APPLE)
    )
    assert (row.active, row.collect_intervals, row.note, row.error) == (False, ["1m"], "", "")
    assert row.refreshed_at is not None


def test_a_symbol_that_is_there_is_not_overwritten(provider: IDataProvider) -> None:
    Symbol.objects.create(key=APPLE, position=7)
    assert add_symbol(provider, APPLE).position == 7


def test_information_is_asked_for_once_and_then_comes_from_redis(
    provider: IDataProvider, source: SimulatorServer
) -> None:
    first = symbols.information(APPLE, provider)
    provider.close()
    source.faults.set("handshake_429")
    assert symbols.information(APPLE, provider) == first == source.market.info(APPLE)
    Cache.from_settings().set_json(keys.cached("info", APPLE), {"of": "another version"}, 60)
    with pytest.raises(Unavailable):
        symbols.information(APPLE, provider)


def test_a_refresh_changes_what_the_source_decides_and_leaves_what_an_operator_chose(
    provider: IDataProvider, source: SimulatorServer
) -> None:
    Symbol.objects.create(key=APPLE, active=True, position=3, collect_intervals=["5m"], error="old")
    assert symbols.refresh(provider, [APPLE]) == symbols.Refreshed(1)
    row = Symbol.objects.get()
    assert (row.position, row.collect_intervals, row.error, row.note) == (3, ["5m"], "", "")
    assert (row.full_name, row.description) == ("BATS:AAPL", "Apple Inc.")


def test_a_change_of_venue_and_name_is_noted(provider: IDataProvider) -> None:
    add_symbol(provider, APPLE)
    Symbol.objects.update(full_name="NASDAQ:AAPL")
    symbols.refresh(provider, [APPLE])
    assert Symbol.objects.get().note == (
        f"{timezone.now():%Y-%m-%d}: prices now come from BATS:AAPL, not from NASDAQ:AAPL"
    )


def test_an_old_name_goes_on_under_its_key_and_says_so(provider: IDataProvider, source: SimulatorServer) -> None:
    before = replace(source.market.info("NASDAQ:META"), symbol="NASDAQ:FB", pro_name="NASDAQ:FB", aliases=())
    row = symbols.add(before, active=True)
    assert symbols.renames(row, replace(before, pro_name="NASDAQ:META", aliases=("NASDAQ:FB",))) == (
        "it is an old name of NASDAQ:META"
    )
    assert symbols.renames(row, replace(before, aliases=("NASDAQ:OLD",))) == "also known as NASDAQ:OLD"
    assert symbols.renames(row, replace(before, pro_name="BATS:FB")) == "it is now listed as BATS:FB, not as NASDAQ:FB"
    assert symbols.renames(row, before) == ""


def test_a_renamed_symbol_says_so_once_and_its_series_continues(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    """The simulator answers to the old name as the real source does: with the new one, the old among its aliases."""
    add_symbol(provider, "NASDAQ:FB", "1m")
    Symbol.objects.update(pro_name="NASDAQ:FB", full_name="BATS:FB", aliases=[])  # as it was called before
    pulls.pull(provider, bars, MINUTE, NOW_MS)
    before = bars.find("NASDAQ:FB", MINUTE)
    symbols.refresh(provider, ["NASDAQ:FB"])
    row = Symbol.objects.get()
    said = "prices now come from BATS:META, not from BATS:FB; it is an old name of NASDAQ:META"
    assert row.note == f"{timezone.now():%Y-%m-%d}: {said}"
    assert (row.key, row.pro_name, row.aliases) == ("NASDAQ:FB", "NASDAQ:META", ["NASDAQ:FB"])
    assert isinstance(source.clock, StandingClock)
    source.clock.at_ms = NOW_MS + 5 * MINUTE_MS
    assert pulls.pull(provider, bars, MINUTE, source.clock.at_ms) == pulls.Pulled(asked=1, new=5)
    series = bars.find("NASDAQ:FB", MINUTE)
    assert before is not None and series is not None and series.id == before.id
    end_ms = source.clock.at_ms - source.clock.at_ms % MINUTE_MS
    assert bars.read(series).same_as(source.market.last("NASDAQ:META", MINUTE, pulls.FIRST_BARS + 5, end_ms))
    symbols.refresh(provider, ["NASDAQ:FB"])
    assert Symbol.objects.get().note == row.note


def test_a_symbol_the_source_does_not_know_keeps_the_error_and_the_rest_is_refreshed(provider: IDataProvider) -> None:
    for key in ("NASDAQ:NOPE", APPLE):
        Symbol.objects.create(key=key)
    result = symbols.refresh(provider, ["NASDAQ:NOPE", APPLE, "NASDAQ:GONE"])
    assert (result.symbols, set(result.failed)) == (1, {"NASDAQ:NOPE", "NASDAQ:GONE"})
    assert Symbol.objects.get(pk="NASDAQ:NOPE").error == result.failed["NASDAQ:NOPE"]
    assert Symbol.objects.filter(pk="NASDAQ:GONE").exists() is False


def test_a_source_that_is_away_is_raised_after_three(provider: IDataProvider, source: SimulatorServer) -> None:
    source.faults.set("handshake_429")
    with pytest.raises(Unavailable, match="429"):
        symbols.refresh(provider, [APPLE, "NYSE:KO", "NASDAQ:MSFT", "LSE:VOD"])


def test_only_active_symbols_without_recent_information_are_due(db: None) -> None:
    now = timezone.now()
    Symbol.objects.create(key="A:NEVER")
    Symbol.objects.create(key="A:OLD", refreshed_at=now - timedelta(hours=21))
    Symbol.objects.create(key="A:NEW", refreshed_at=now)
    Symbol.objects.create(key="A:OFF", active=False)
    assert sorted(symbols.due()) == ["A:NEVER", "A:OLD"]
