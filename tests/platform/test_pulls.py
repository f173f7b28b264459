from dataclasses import replace
from datetime import UTC, datetime

import pytest
from django.conf import LazySettings

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Unavailable
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, Database
from infrastructure.scheduling import JobScheduler
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.times import from_ms, to_ms
from infrastructure.tradingview import IDataProvider
from marketdata.models import BackfillJob, Pull, Symbol
from marketdata.services import pulls
from marketdata.services.pulls import FIRST_BARS, OVERLAP_BARS, Pulled, pull
from marketdata.services.series import series_of
from marketdata.services.upstream import UpstreamOff, turn
from tests.platform.conftest import NOW_MS, add_symbol

MINUTE = INTERVALS["1m"]
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS
COIN, SHARE, KOREAN = "BINANCE:BTCUSDT", "NASDAQ:AAPL", "KRX:005930"


def later(source: SimulatorServer, minutes: int) -> int:
    assert isinstance(source.clock, StandingClock)
    source.clock.at_ms = NOW_MS + minutes * MINUTE_MS
    return source.clock.at_ms


def stored(bars: BarStore, key: str) -> object:
    series = bars.find(key, MINUTE)
    assert series is not None
    return bars.read(series)


def test_a_pull_stores_exactly_the_closed_bars(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN, "1m")
    assert pull(provider, bars, MINUTE, NOW_MS) == Pulled(asked=1, new=FIRST_BARS)
    expected = source.market.last(COIN, MINUTE, FIRST_BARS, THIS_MINUTE)
    series = bars.find(COIN, MINUTE)
    assert series is not None
    assert bars.read(series).same_as(expected)
    assert int(expected.time_ms[-1]) == THIS_MINUTE - MINUTE_MS


def test_pulling_again_writes_nothing_and_asks_only_when_a_bar_has_closed(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN, "1m")
    pull(provider, bars, MINUTE, NOW_MS)
    chunks = list(Database().collection("bar_chunk").find())
    assert pull(provider, bars, MINUTE, NOW_MS) == Pulled()
    assert pull(provider, bars, MINUTE, NOW_MS, only=frozenset([COIN])) == Pulled(asked=1)
    assert list(Database().collection("bar_chunk").find()) == chunks
    assert pull(provider, bars, MINUTE, later(source, 2)) == Pulled(asked=1, new=2)


def test_with_a_faster_clock_than_ours_the_source_is_always_asked(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, settings: LazySettings
) -> None:
    settings.SIMULATOR_SPEED = 60
    add_symbol(provider, COIN, "1m")
    pull(provider, bars, MINUTE, NOW_MS)
    later(source, 60)
    assert pull(provider, bars, MINUTE, NOW_MS + MINUTE_MS) == Pulled(asked=1, new=60)


def test_a_closed_market_costs_no_request_after_its_last_bar(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, KOREAN, "1m")
    assert pull(provider, bars, MINUTE, NOW_MS).asked == 1
    assert pull(provider, bars, MINUTE, later(source, 60)) == Pulled()


def test_a_delayed_symbol_is_not_asked_for_bars_it_cannot_have_yet(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    """London has closed at 16:30; its last minute is known a quarter of an hour later."""
    add_symbol(provider, "LSE:VOD", "1m")
    closing = THIS_MINUTE - 90 * MINUTE_MS
    assert isinstance(source.clock, StandingClock)
    source.clock.at_ms = closing + 30_000
    pull(provider, bars, MINUTE, source.clock.at_ms)
    (state,) = Pull.objects.all()
    assert state.reached_ms == closing - 16 * MINUTE_MS
    source.clock.at_ms = closing + 15 * MINUTE_MS + 5000
    provider.close()  # the server tells its time as a connection begins
    pull(provider, bars, MINUTE, source.clock.at_ms)
    state.refresh_from_db()
    assert state.reached_ms == closing - MINUTE_MS


def test_bars_that_the_feed_missed_are_filled_although_newer_ones_were_pushed(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN, "1m")
    pull(provider, bars, MINUTE, NOW_MS)
    now_ms = later(source, 30)
    (newest,) = source.market.last(COIN, MINUTE, 1, now_ms - now_ms % MINUTE_MS)
    series = series_of(bars, COIN, MINUTE, provider.resolve(COIN))
    bars.push([(series, newest)])
    assert pull(provider, bars, MINUTE, now_ms) == Pulled(asked=1, new=29)
    assert bars.read(series).same_as(source.market.last(COIN, MINUTE, FIRST_BARS + 30, now_ms - now_ms % MINUTE_MS))


def test_a_bar_that_differs_in_the_overlap_is_corrected_counted_and_logged(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, caplog: pytest.LogCaptureFixture
) -> None:
    add_symbol(provider, COIN, "1m")
    pull(provider, bars, MINUTE, NOW_MS)
    series = bars.find(COIN, MINUTE)
    assert series is not None
    (newest,) = bars.last(series, 1)
    bars.push([(series, replace(newest, close=newest.close + 1))])
    assert pull(provider, bars, MINUTE, later(source, 1)) == Pulled(asked=1, new=1, corrected=1)
    assert next(iter(bars.last(series, 2))) == newest
    assert Pull.objects.get().corrected == 1
    assert "BINANCE:BTCUSDT@1m: 1 closed bars were corrected by the source" in caplog.messages


def test_the_overlap_is_of_bars_however_long_the_market_rested(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    """A correction of the day before a long weekend is still noticed by the first pull after the next bar."""
    add_symbol(provider, SHARE, "1d")
    assert isinstance(source.clock, StandingClock)
    thursday, tuesday = datetime(2026, 9, 3, 21, tzinfo=UTC), datetime(2026, 9, 8, 21, tzinfo=UTC)  # Labor Day between
    for moment in (thursday, tuesday):
        source.clock.at_ms = to_ms(moment)
        provider.close()
        pull(provider, bars, INTERVALS["1d"], source.clock.at_ms)
    series = bars.find(SHARE, INTERVALS["1d"])
    assert series is not None
    *_, before, friday, newest = bars.last(series, 3)
    assert [from_ms(bar.time_ms).day for bar in (before, friday, newest)] == [3, 4, 8]
    bars.write(series, Bars.from_rows([(before.time_ms, 1, 2, 0.5, 1.5, 7)]))
    Pull.objects.update(reached_ms=newest.time_ms, asked_ms=None)
    assert pull(provider, bars, INTERVALS["1d"], source.clock.at_ms, only=frozenset([SHARE])).corrected == 1
    assert next(iter(bars.last(series, 3))) == before


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_wrong_by_an_hour_makes_no_forming_bar_closed(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, hours: int
) -> None:
    for key in (COIN, "LSE:VOD"):
        add_symbol(provider, key, "1m", "1h")
    ours = NOW_MS + hours * 3_600_000
    for minutes in (0, 1, 2):
        provider.close()  # the server tells its time as a connection begins
        later(source, minutes - 120)  # London trades
        for name in ("1m", "1h"):
            pull(provider, bars, INTERVALS[name], ours - (120 - minutes) * MINUTE_MS, only=frozenset([COIN, "LSE:VOD"]))
    now_ms = source.clock.now_ms()
    for key, delay_ms in ((COIN, 0), ("LSE:VOD", 15 * MINUTE_MS)):
        for name in ("1m", "1h"):
            series = bars.find(key, INTERVALS[name])
            assert series is not None
            kept = bars.read(series)
            seen_ms = now_ms - delay_ms
            true = source.market.last(key, INTERVALS[name], len(kept), seen_ms - seen_ms % INTERVALS[name].length_ms)
            assert kept.same_as(true), (key, name)


def test_a_long_gap_becomes_a_backfill_and_the_pull_goes_on_at_the_present(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    JobScheduler().ensure()
    add_symbol(provider, COIN, "1m")
    pull(provider, bars, MINUTE, NOW_MS)
    now_ms = later(source, 10_000)
    assert pull(provider, bars, MINUTE, now_ms) == Pulled(asked=1, new=FIRST_BARS)
    (job,) = BackfillJob.objects.all()
    assert (job.symbol, job.interval, job.state, job.start_at, job.end_at) == (
        COIN, "1m", "queued", from_ms(THIS_MINUTE - OVERLAP_BARS * MINUTE_MS), from_ms(now_ms),
    )  # fmt: skip
    assert JobScheduler().queue_sizes()["backfills"].waiting == 1


def test_what_is_wrong_with_one_symbol_is_kept_and_the_others_are_pulled(
    provider: IDataProvider, bars: BarStore
) -> None:
    Symbol.objects.create(key="NASDAQ:NOPE", collect_intervals=["1m"])
    Symbol.objects.create(key="TEST:DAILY", collect_intervals=["1m"], has_intraday=False)
    Symbol.objects.create(key="NASDAQ:OFF", collect_intervals=["1m"], active=False)
    Symbol.objects.create(key="NYSE:KO", collect_intervals=["5m"])
    add_symbol(provider, COIN, "1m")
    result = pull(provider, bars, MINUTE, NOW_MS)
    assert (result.new, set(result.failed)) == (FIRST_BARS, {"NASDAQ:NOPE", "TEST:DAILY"})
    errors = {state.symbol: state.error for state in Pull.objects.all()}
    assert errors == {**result.failed, COIN: ""}
    assert errors["TEST:DAILY"] == "TEST:DAILY has no 1m bars: its source offers none below one day."


def test_a_source_that_is_away_ends_the_pull(bars: BarStore, source: SimulatorServer, provider: IDataProvider) -> None:
    for key in (COIN, SHARE, "NYSE:KO"):
        add_symbol(provider, key, "1m")
    provider.close()
    source.faults.set("handshake_429")
    with pytest.raises(Unavailable, match="429"):
        pull(provider, bars, MINUTE, NOW_MS)
    assert sorted(state.error != "" for state in Pull.objects.all()) == [True, True]


def test_whoever_was_not_reached_in_time_comes_first_next_time(provider: IDataProvider, bars: BarStore) -> None:
    for key in (COIN, SHARE, "NYSE:KO"):
        add_symbol(provider, key, "1m")
    moments = iter((0.0, 0.0, pulls.DEADLINE_S + 1))
    assert pull(provider, bars, MINUTE, NOW_MS, monotonic=lambda: next(moments)).left == 2
    (first,) = Pull.objects.all()
    moments = iter((0.0, 0.0, 0.0, pulls.DEADLINE_S + 1))
    pull(provider, bars, MINUTE, NOW_MS + MINUTE_MS, monotonic=lambda: next(moments))
    assert {state.symbol for state in Pull.objects.all()} == {COIN, SHARE, "NYSE:KO"}
    assert Pull.objects.get(pk=first.pk).tried_at == from_ms(NOW_MS)


def test_upstream_off_stops_a_pull_before_anything_is_sent(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    Symbol.objects.create(key=COIN, collect_intervals=["1m"])
    turn(False, "ann")
    with pytest.raises(UpstreamOff):
        pull(provider, bars, MINUTE, NOW_MS)
    assert (source.connections, Pull.objects.count(), bars.all_series()) == (0, 0, [])


def test_no_unfinished_bar_is_stored_whatever_the_interval(provider: IDataProvider, bars: BarStore) -> None:
    add_symbol(provider, SHARE, "5m", "1h", "1d", "1w")
    forming = {"5m": "18:00", "1h": "17:30", "1d": "14:30", "1w": "14:30"}  # New York opens at 14:30 UTC
    for name in forming:
        pull(provider, bars, INTERVALS[name], NOW_MS)
        series = bars.find(SHARE, INTERVALS[name])
        assert series is not None
        newest: Bar = next(iter(bars.last(series, 1)))
        hours = from_ms(newest.time_ms)
        assert (hours.date().isoformat(), f"{hours:%H:%M}") == {
            "5m": ("2026-11-19", "17:55"),
            "1h": ("2026-11-19", "16:30"),
            "1d": ("2026-11-18", "14:30"),
            "1w": ("2026-11-09", "14:30"),
        }[name]
