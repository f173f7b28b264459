import pytest
from django.test import Client
from django.urls import reverse

from infrastructure.bars import Bars
from infrastructure.errors import Rejected
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, CoverageStore, Database, Series
from infrastructure.scheduling import JobScheduler
from marketdata import tasks
from marketdata.models import Symbol
from marketdata.services import retention, schedules
from tests.platform.conftest import NOW_MS

COIN = "BINANCE:BTCUSDT"
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


def test_only_what_is_limited_goes_in_whole_documents(bars: BarStore, series: dict[str, Series]) -> None:
    Symbol.objects.create(key=COIN, keep_days="5m=100")
    before = list(bars.read(series["5m"]))
    deleted = retention.trim(bars, NOW_MS)
    left = bars.read(series["5m"])
    kept_ms = first_ms(bars, "5m")
    assert (deleted > 0, kept_ms) == (True, int(left.time_ms[0]))
    span = series["5m"].span_ms
    assert NOW_MS - 100 * DAY_MS - span <= left.time_ms[0] <= NOW_MS - 100 * DAY_MS
    assert list(left) == before[-len(left) :]
    assert len(bars.read(series["1h"])) == 400
    ((low, high),) = CoverageStore(Database()).of(series["5m"]).ranges
    assert (low % DAY_MS, low <= left.time_ms[0], high) == (0, True, DAY)
    assert CoverageStore(Database()).of(series["1h"]).ranges == ((START, DAY),)
    assert retention.trim(bars, NOW_MS) == 0


def test_a_series_that_is_older_than_all_that_is_kept_is_empty_and_goes_on(
    bars: BarStore, series: dict[str, Series]
) -> None:
    Symbol.objects.create(key=COIN, keep_days="5m=1")
    retention.trim(bars, NOW_MS + 400 * DAY_MS)
    assert (first_ms(bars, "5m"), len(bars.read(series["5m"])), bars.latest([series["5m"]])) == (None, 0, {})
    bars.write(series["5m"], Bars.from_rows([(DAY + MINUTE_MS, 1, 1, 1, 1, 1)]))
    assert first_ms(bars, "5m") == DAY + MINUTE_MS


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
