import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from django.core.management import call_command
from django.test import Client

from infrastructure.bars import Bars
from infrastructure.errors import Rejected
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS, Interval, parse_multiple
from infrastructure.persistence import BarStore, CoverageStore, Database
from infrastructure.simulator import SimulatorServer
from infrastructure.simulator.market import Market
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.hours import TradingHours
from marketdata import tasks
from marketdata.models import BackfillJob, Finding
from marketdata.services import backfill, derived
from marketdata.services.derived import Derived
from marketdata.services.resampling import is_multiple, resampled
from tests.history.jobs import start_here
from tests.platform.conftest import NOW_MS, add_symbol

COIN, SHARE = "BINANCE:BTCUSDT", "NASDAQ:AAPL"
MARKET = Market(seed=1)
KEYS = (COIN, SHARE, "CME_MINI:ES1!", "FX:EURUSD", "NSE:RELIANCE", "KRX:005930", "SP:SPX", "LSE:VOD", "TEST:TICK")
PAIRS = [
    (fine, coarse) for fine in INTERVALS for coarse in INTERVALS if is_multiple(INTERVALS[coarse], INTERVALS[fine])
]


def hours_of(key: str) -> TradingHours:
    info = MARKET.info(key)
    return TradingHours.parse(info.session, info.timezone, info.holidays, info.corrections)


def test_which_intervals_make_which() -> None:
    assert [fine for fine, coarse in PAIRS if coarse == "45m"] == ["1m", "3m", "5m", "15m"]
    assert [fine for fine, coarse in PAIRS if coarse == "1w"] == [*list(INTERVALS)[:-2]]
    assert [fine for fine, coarse in PAIRS if coarse == "1M"] == [*list(INTERVALS)[:-2]]


@pytest.mark.parametrize("key", KEYS)
def test_finer_bars_make_exactly_the_coarser_bars_of_the_simulator(key: str) -> None:
    hours = hours_of(key)
    for fine, coarse in PAIRS:
        days = {"1M": 100, "1w": 40}.get(coarse, 12)
        true = MARKET.bars(key, INTERVALS[coarse], NOW_MS - days * DAY_MS, NOW_MS - DAY_MS)[:-1]
        start, end = int(true.time_ms[0]), hours.bar_close_ms(int(true.time_ms[-1]), INTERVALS[coarse])
        made = resampled(MARKET.bars(key, INTERVALS[fine], start, end), hours, INTERVALS[coarse])
        assert made.same_as(true), (key, fine, coarse)


def test_sums_of_decimals_are_exact_and_unknown_volumes_stay_unknown() -> None:
    hours = TradingHours.parse("24x7", "Etc/UTC")
    volumes = [0.1, 0.2, float("nan"), float("nan"), float("nan"), 3.0, 1e300, 1e-300]
    rows = [(minute * MINUTE_MS, 1, 1, 1, 1, volume) for minute, volume in enumerate(volumes)]
    two = Interval("2m", "2", 2 * MINUTE_MS)
    assert repr(resampled(Bars.from_rows(rows[:2]), hours, two).volume.tolist()) == "[0.3]"
    assert repr(resampled(Bars.from_rows(rows[:6]), hours, two).volume.tolist()) == "[0.3, nan, 3.0]"
    assert repr(resampled(Bars.from_rows(rows[6:]), hours, two).volume.tolist()) == "[1e+300]"
    assert len(resampled(Bars.empty(), hours, two)) == 0


@pytest.mark.parametrize(("text", "minutes"), [("10m", 10), ("6h", 360), ("1439m", 1439), ("1m", 1), ("4h", 240)])
def test_any_number_of_minutes_or_hours_is_an_interval(text: str, minutes: int) -> None:
    found = parse_multiple(text)
    assert (found.name, found.length_ms, found.intraday) == (text, minutes * MINUTE_MS, True)


@pytest.mark.parametrize("text", ["", "m", "0m", "010m", "1440m", "24h", "-5m", "2d", "1.5h", "²m"])
def test_other_texts_are_no_interval(text: str) -> None:
    with pytest.raises(Rejected):
        parse_multiple(text)


# --- Of stored series ---


@pytest.fixture
def made(provider: IDataProvider, source: SimulatorServer, bars: BarStore) -> Derived:
    """Half-hours of a share, of its last 4,000 minutes."""
    fetch(provider, bars, SHARE, "1m", 4000)
    found = derived.derived(bars, SHARE, INTERVALS["30m"])
    assert found is not None
    return found


def fetch(provider: IDataProvider, store: BarStore, key: str, interval: str, count: int) -> None:
    add_symbol(provider, key)
    job = BackfillJob(symbol=key, interval=interval, bars=count)
    start_here(job)
    backfill.run(job, provider, store, now_ms=NOW_MS)


def whole(source: SimulatorServer, made: Derived) -> Bars:
    """The bars that are closed and of which all minutes are there."""
    closed = source.market.bars(SHARE, INTERVALS["30m"], 0, NOW_MS - NOW_MS % (30 * MINUTE_MS))
    first = made.finer.first_ms or 0
    return closed.between(first + 30 * MINUTE_MS - 1 - (first - 1) % (30 * MINUTE_MS), None)


def test_bars_that_are_not_stored_are_made_as_they_are_read(made: Derived, source: SimulatorServer) -> None:
    true = whole(source, made)
    assert len(true) > 120
    assert Bars.concat(list(made.iterate())).same_as(true)
    assert made.last(10_000).same_as(true)
    assert made.last(7).same_as(true[-7:])
    middle = int(true.time_ms[60])
    assert made.last(5, middle).same_as(true[55:60])
    assert made.last(5, middle + 1).same_as(true[56:61])
    assert Bars.concat(list(made.iterate(middle - 1, middle + 1))).same_as(true[60:61])
    assert Bars.concat(list(made.iterate(middle, int(true.time_ms[70])))).same_as(true[60:70])


def test_pieces_give_the_same_as_the_whole(
    made: Derived, source: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived, "PIECE_BARS", 100)
    assert made.last(50).same_as(whole(source, made)[-50:])
    assert made.last(10_000).same_as(whole(source, made))


def test_a_bar_of_which_minutes_were_never_fetched_is_not_made(made: Derived, source: SimulatorServer) -> None:
    true = whole(source, made)
    hole = int(true.time_ms[40]) + 5 * MINUTE_MS
    ((low, high),) = made.covered
    holed = replace(made, covered=((low, hole), (hole + MINUTE_MS, high)))
    expected = true[np.arange(len(true)) != 40]
    assert holed.last(10_000).same_as(expected)


def test_before_the_depth_of_a_plan_nobody_knows_what_is_missing(made: Derived, bars: BarStore) -> None:
    """Of older bars, from a file that says nothing of it; before the first bar of the source there are none."""
    first = int(made.last(10_000).time_ms[0])
    older = first - 30 * DAY_MS
    bars.write(made.finer, Bars.from_rows([(older + 7 * MINUTE_MS, 1, 1, 1, 1, 1)]))
    for ended, expected in (("", first), ("limit", first), ("end", older)):
        if ended:
            CoverageStore(Database()).add(made.finer, [], ended, first)  # type: ignore[arg-type]
        found = derived.derived(bars, SHARE, INTERVALS["30m"])
        assert found is not None
        assert found.last(10_000).time_ms[0] == expected


def test_the_coarsest_series_that_fits_is_taken(provider: IDataProvider, bars: BarStore) -> None:
    add_symbol(provider, COIN)
    assert derived.derived(bars, COIN, INTERVALS["1h"]) is None
    for name in ("1m", "5m", "45m", "1d"):
        bars.series(COIN, INTERVALS[name], bars_per_week=1000)
    taken = {name: derived.derived(bars, COIN, INTERVALS[name]) for name in ("1h", "3h", "1w", "1m")}
    assert {name: found and found.finer.interval.name for name, found in taken.items()} == {
        "1h": "5m", "3h": "45m", "1w": "1d", "1m": None,
    }  # fmt: skip


def test_the_api_serves_intervals_that_are_not_stored(
    made: Derived, source: SimulatorServer, client_of: object
) -> None:
    browser: Client = client_of("viewer")  # type: ignore[operator]
    answer = browser.get("/api/v1/bars", {"symbol": SHARE, "interval": "30m", "limit": 3}).json()
    assert [row[0] for row in answer["bars"]] == whole(source, made)[-3:].time_ms.tolist()
    assert (answer["interval"], answer["more"]) == ("30m", True)
    ten = browser.get("/api/v1/bars", {"symbol": SHARE, "interval": "10m", "limit": 5}).json()["bars"]
    assert {row[0] % (10 * MINUTE_MS) for row in ten} == {0}
    refused = browser.get("/api/v1/bars", {"symbol": SHARE, "interval": "7x"})
    assert refused.status_code == 400


def check() -> tuple[int, list[dict[str, object]]]:
    out = StringIO()
    code = 0
    try:
        call_command("checkbars", "--json", stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    return code, json.loads(out.getvalue())


def test_a_stored_bar_that_its_finer_ones_do_not_make_is_a_finding(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    fetch(provider, bars, COIN, "1m", 3000)
    fetch(provider, bars, COIN, "1h", 40)
    assert check() == (0, [])
    hourly = bars.find(COIN, INTERVALS["1h"])
    assert hourly is not None
    wrong = next(iter(bars.last(hourly, 3)))
    bars.push([(hourly, replace(wrong, close=wrong.close + 1, high=wrong.high + 1))])
    code, found = check()
    assert (code, [(row["made_of"], row["stored_close"], row["made_close"]) for row in found]) == (
        1, [("1m", wrong.close + 1, wrong.close)],
    )  # fmt: skip
    (finding,) = Finding.objects.all()
    assert (finding.kind, finding.interval, finding.first_ms) == ("mismatch", "1h", wrong.time_ms)
    assert finding.reason.startswith("it is not what its 1m bars make: ")
    Finding.objects.all().delete()
    assert (tasks.check_bars(), Finding.objects.count()) == (1, 1)  # the schedule finds it without anybody asking


def test_series_of_another_adjustment_or_session_are_not_mixed(provider: IDataProvider, bars: BarStore) -> None:
    add_symbol(provider, COIN)
    kinds = {"1m": {}, "5m": {"adjustment": "dividends"}, "15m": {"session": "extended"}}
    for name, kind in kinds.items():
        bars.series(COIN, INTERVALS[name], bars_per_week=1000, **kind)
    taken = [derived.derived(bars, COIN, INTERVALS["1h"], **kind) for kind in kinds.values()]
    assert [found and found.finer.interval.name for found in taken] == ["1m", "5m", "15m"]
