import itertools

import pytest
from django.test import Client
from django.urls import reverse

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Rejected
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, CoverageStore, Database, Revisions, Series
from infrastructure.scheduling import JobScheduler
from infrastructure.simulator import SimulatorServer
from infrastructure.times import from_ms
from infrastructure.tradingview import IDataProvider
from marketdata import tasks
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill, pulls, retention, schedules
from marketdata.services.holdings import holdings
from tests.history.dying import killed_after
from tests.history.jobs import start_here
from tests.platform.conftest import NOW_MS, add_symbol

COIN = "BINANCE:BTCUSDT"
HOUR_MS = INTERVALS["1h"].length_ms
DAY = NOW_MS - NOW_MS % DAY_MS
START = DAY - 400 * DAY_MS


@pytest.fixture
def series(bars: BarStore) -> dict[str, Series]:
    """400 days of hours and of five minutes, one bar a day."""
    found = {}
    for name in ("5m", "1h"):
        one = bars.series(COIN, INTERVALS[name], bars_per_week=7 * DAY_MS / INTERVALS[name].length_ms)
        bars.write(one, Bars.from_rows([(START + day * DAY_MS, 1, 1, 1, 1, 1) for day in range(400)]))
        CoverageStore(Database()).add(one, [(START, DAY)])
        found[name] = one
    return found


def first_ms(bars: BarStore, name: str) -> int | None:
    series = bars.find(COIN, INTERVALS[name])
    assert series is not None
    return series.first_ms


def test_everything_is_kept_by_default(bars: BarStore, series: dict[str, Series]) -> None:
    Symbol.objects.create(key=COIN)
    assert retention.trim(bars, NOW_MS) == 0
    assert [len(bars.read(one)) for one in series.values()] == [400, 400]


def test_only_what_is_limited_goes_to_the_last_bar(bars: BarStore, series: dict[str, Series]) -> None:
    Symbol.objects.create(key=COIN, keep_days="5m=100")
    before = list(bars.read(series["5m"]))
    assert retention.trim(bars, DAY) > 0
    assert list(bars.read(series["5m"])) == before[-100:]
    assert first_ms(bars, "5m") == DAY - 100 * DAY_MS
    assert len(bars.read(series["1h"])) == 400
    assert CoverageStore(Database()).of(series["5m"]).ranges == ((DAY - 100 * DAY_MS, DAY),)
    assert CoverageStore(Database()).of(series["1h"]).ranges == ((START, DAY),)
    stored = [*Database().collection("bar_chunk").find(), *Database().collection("bar_coverage").find()]
    assert retention.trim(bars, DAY) == 0
    assert [*Database().collection("bar_chunk").find(), *Database().collection("bar_coverage").find()] == stored


def test_bars_that_were_pushed_go_too(bars: BarStore, series: dict[str, Series]) -> None:
    bars.push([(series["5m"], Bar(DAY - 50 * DAY_MS - 5 * MINUTE_MS, 2, 2, 2, 2, 2))])
    bars.push([(series["5m"], Bar(DAY - 50 * DAY_MS + 5 * MINUTE_MS, 2, 2, 2, 2, 2))])
    Symbol.objects.create(key=COIN, keep_days="5m=50")
    retention.trim(bars, DAY)
    left = bars.read(series["5m"])
    assert left.time_ms[:3].tolist() == [DAY - 50 * DAY_MS + step for step in (0, 5 * MINUTE_MS, DAY_MS)]
    assert (len(left), bars.count(series["5m"])) == (51, 51)


def test_a_series_that_is_older_than_all_that_is_kept_is_empty_and_goes_on(
    bars: BarStore, series: dict[str, Series]
) -> None:
    Symbol.objects.create(key=COIN, keep_days="5m=1")
    retention.trim(bars, NOW_MS + 400 * DAY_MS)
    assert (first_ms(bars, "5m"), len(bars.read(series["5m"])), bars.latest([series["5m"]])) == (None, 0, {})
    bars.write(series["5m"], Bars.from_rows([(DAY + MINUTE_MS, 1, 1, 1, 1, 1)]))
    assert first_ms(bars, "5m") == DAY + MINUTE_MS


def test_wherever_a_trim_dies_coverage_claims_nothing_that_is_gone_and_the_next_one_ends_it(
    bars: BarStore, series: dict[str, Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    Symbol.objects.create(key=COIN, keep_days="5m=100")
    done = 0
    for writes in itertools.count():
        with killed_after(writes, monkeypatch) as killed:
            retention.trim(bars, DAY)
        left = bars.read(series["5m"])
        for low, high in CoverageStore(Database()).of(series["5m"]).ranges:
            assert len(left.between(low, high)) == (high - low) // DAY_MS
        if not killed:
            break
        done += 1
    assert done >= 3
    assert (len(left), first_ms(bars, "5m")) == (100, DAY - 100 * DAY_MS)


def test_a_bar_that_is_pushed_while_everything_goes_is_the_last_one(
    bars: BarStore, series: dict[str, Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    Symbol.objects.create(key=COIN, keep_days="5m=1")
    newest = Bar(DAY + 400 * DAY_MS, 3, 3, 3, 3, 3)
    true = Revisions._edges

    def pushed_meanwhile(self: Revisions, one: Series) -> object:
        edges = true(self, one)
        monkeypatch.setattr(Revisions, "_edges", true)
        bars.push([(one, newest)])
        return edges

    monkeypatch.setattr(Revisions, "_edges", pushed_meanwhile)
    retention.trim(bars, NOW_MS + 400 * DAY_MS)
    assert bars.latest([series["5m"]]) == {series["5m"].id: newest}
    assert first_ms(bars, "5m") == newest.time_ms


def test_a_text_that_is_no_limit_keeps_its_bars_and_stops_no_other(bars: BarStore, series: dict[str, Series]) -> None:
    Symbol.objects.create(key="A:A", keep_days="for ever")
    other = bars.series("A:A", INTERVALS["5m"], bars_per_week=2016)
    bars.write(other, Bars.from_rows([(START, 1, 1, 1, 1, 1)]))
    Symbol.objects.create(key=COIN, keep_days="5m=100")
    retention.trim(bars, DAY)
    assert (len(bars.read(other)), len(bars.read(series["5m"]))) == (1, 100)


def test_what_was_trimmed_is_no_gap_and_no_backfill_or_pull_fetches_it(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN, "1h")
    fill(provider, bars, start_at=from_ms(NOW_MS - 40 * DAY_MS))
    Symbol.objects.update(keep_days="1h=10")
    retention.trim(bars, NOW_MS)
    kept = bars.read(hourly(bars))
    assert kept.time_ms[0] == NOW_MS - NOW_MS % HOUR_MS - 10 * DAY_MS + HOUR_MS
    (held,) = holdings(bars, [COIN], [], NOW_MS, start_ms=NOW_MS - 40 * DAY_MS)
    assert held.gaps == []
    for wish in ({"start_at": from_ms(NOW_MS - 40 * DAY_MS)}, {"bars": 900}):
        assert fill(provider, bars, **wish).requests == 0
    pulls.pull(provider, bars, INTERVALS["1h"], NOW_MS)
    assert bars.read(hourly(bars)).same_as(kept)


def hourly(bars: BarStore) -> Series:
    found = bars.find(COIN, INTERVALS["1h"])
    assert found is not None
    return found


def fill(provider: IDataProvider, store: BarStore, **wish: object) -> BackfillJob:
    job = BackfillJob(symbol=COIN, interval="1h", **wish)
    start_here(job)
    backfill.run(job, provider, store, now_ms=NOW_MS)
    return job


def test_a_schedule_trims_once_a_day(bars: BarStore, series: dict[str, Series]) -> None:
    Symbol.objects.create(key=COIN, keep_days="1h=1")
    assert tasks.trim_bars() > 0
    JobScheduler().ensure()
    assert "trim bars" in schedules.install(set())


@pytest.mark.parametrize("text", ["1m", "1m=", "1m=0", "1m=-5", "7x=5", "1m=365,5m=10", "1m=100000"])
def test_a_text_that_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(Rejected):
        retention.parse(text)


def test_limits_are_read(empty: None) -> None:
    assert (retention.parse("1m=365  5m=1000"), retention.parse("")) == ({"1m": 365, "5m": 1000}, {})


def test_the_admin_takes_a_limit_and_says_what_is_wrong_with_one(client_of: object) -> None:
    Symbol.objects.create(key=COIN)
    browser: Client = client_of("operator")  # type: ignore[operator]
    page = reverse("admin:marketdata_symbol_change", args=["BINANCE_3ABTCUSDT"])
    refused = browser.post(page, {"key": COIN, "position": 0, "keep_days": "1m"})
    assert "&#x27;1m&#x27; is not of the form INTERVAL=DAYS" in refused.content.decode()
    browser.post(page, {"key": COIN, "position": 0, "keep_days": "1m=365"})
    assert Symbol.objects.get().keep_days == "1m=365"
