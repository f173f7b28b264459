import json
from datetime import datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, CoverageStore, Database
from infrastructure.simulator import SimulatorServer
from infrastructure.times import from_ms
from infrastructure.tradingview import IDataProvider
from marketdata.models import BackfillJob
from marketdata.services import backfill
from marketdata.services.holdings import holdings
from tests.history.jobs import start_here
from tests.platform.conftest import NOW_MS, add_symbol

SHARE, COIN, YOUNG = "NASDAQ:AAPL", "BINANCE:BTCUSDT", "NASDAQ:NEWCO"
DAY = NOW_MS - NOW_MS % DAY_MS


def manage(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def fetch(provider: IDataProvider, store: BarStore, key: str, interval: str, **wish: Any) -> None:
    job = BackfillJob(symbol=key, interval=interval, **wish)
    start_here(job)
    backfill.run(job, provider, store, now_ms=NOW_MS)


@pytest.fixture
def holed(provider: IDataProvider, bars: BarStore) -> None:
    """Minutes of Tuesday and Thursday, so that Wednesday is missing; days to the first one there is."""
    add_symbol(provider, SHARE)
    add_symbol(provider, YOUNG)
    for start in (DAY - 2 * DAY_MS, DAY):
        fetch(provider, bars, SHARE, "1m", start_at=from_ms(start), end_at=from_ms(start + DAY_MS))
    fetch(provider, bars, YOUNG, "1d", bars=10_000)


def test_gaps_are_listed_for_people_and_programs(holed: None) -> None:
    limits = ("--to", "2026-11-19T14:00")
    assert json.loads(manage("gaps", "--json", *limits)) == [
        {"symbol": SHARE, "interval": "1m", "from": "2026-11-18T14:30:00Z", "to": "2026-11-18T21:00:00Z", "bars": 390}
    ]
    table = manage("gaps", SHARE, "--interval", "1m", *limits)
    assert "NASDAQ:AAPL │ 1m       │ 2026-11-18 14:30 │ 2026-11-18 21:00 │  390 │" in table
    assert table.endswith("1 gaps in 1 series; of 0 the hours are unknown\n")
    assert json.loads(manage("gaps", YOUNG, "--json", *limits)) == []


def test_before_the_first_bar_gaps_are_looked_for_on_demand(holed: None) -> None:
    found = json.loads(manage("gaps", SHARE, "--json", "--from", "2026-11-16", "--to", "2026-11-17"))
    assert [(gap["from"], gap["bars"]) for gap in found] == [("2026-11-16T14:30:00Z", 390)]


def test_where_the_source_ends_nothing_is_missing(holed: None) -> None:
    assert json.loads(manage("gaps", YOUNG, "--json", "--from", "1990-01-01", "--to", "2026-11-18")) == []


def test_series_are_listed_with_what_they_hold(holed: None, source: SimulatorServer, bars: BarStore) -> None:
    share, young = json.loads(manage("series", "--json"))
    one = bars.find(SHARE, INTERVALS["1m"])
    assert one is not None
    assert (share["symbol"], share["interval"], share["bars"], share["revision"]) == (SHARE, "1m", bars.count(one), 1)
    assert (share["first"], share["ended"]) == ("2026-11-17T14:30:00Z", None)
    assert share["covered"][0] == ["2026-11-17T14:30:00Z", "2026-11-17T21:00:00Z"]
    assert [start for start, _ in share["covered"]] == ["2026-11-17T14:30:00Z", "2026-11-19T14:30:00Z"]
    first = source.market.first_ms(YOUNG, INTERVALS["1d"])
    assert (young["ended"], young["ended_before"]) == ("end", from_ms(first).isoformat().replace("+00:00", "Z"))
    assert datetime.fromisoformat(young["ended_at"]).tzinfo is not None
    table = manage("series", YOUNG)
    assert SHARE not in table
    assert f"end {from_ms(first):%Y-%m-%d %H:%M}" in table


def test_a_series_of_a_forgotten_symbol_is_shown_without_gaps(bars: BarStore) -> None:
    series = bars.series(COIN, INTERVALS["1m"], bars_per_week=10_080)
    CoverageStore(Database()).add(series, [(DAY, DAY + MINUTE_MS)])
    (found,) = holdings(bars, [], [], NOW_MS)
    assert (found.gaps, found.missing) == (None, 0)
    assert "│    ? │" in manage("series")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("gaps", "NASDAQ:NOPE"), "There is no symbol NASDAQ:NOPE on this platform."),
        (("series", "--interval", "7m"), "There is no interval '7m'; choose one of "),
        (("gaps", "--from", "soon"), "--from takes a date or time as in 2026-01-31 or 2026-01-31T09:30, not 'soon'."),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(empty: None, arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(CommandError) as refused:
        manage(*arguments)
    assert str(refused.value).startswith(sentence)
