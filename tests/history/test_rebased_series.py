"""A series whose source tells all prices anew: noticed by a pull, loaded whole, replaced at once."""

import itertools
from datetime import UTC, datetime

import numpy as np
import pytest

from infrastructure.bars import Bars
from infrastructure.errors import Unavailable
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, Database, Series, Written
from infrastructure.scheduling import JobScheduler
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.times import from_ms, to_ms
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.live_series import RECENT_BARS
from marketdata import tasks
from marketdata.models import BackfillJob, Finding, Pull
from marketdata.services import backfill, backfill_jobs
from marketdata.services.pulls import FIRST_BARS, Pulled, pull
from marketdata.services.rebasing import rescaled
from tests.history.dying import killed_after
from tests.history.jobs import start_here
from tests.platform.conftest import NOW_MS, add_symbol

MINUTE, DAY = INTERVALS["1m"], INTERVALS["1d"]
COIN, SHARE, NEW = "BINANCE:BTCUSDT", "NASDAQ:AAPL", "NASDAQ:NEWCO"
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS
State = BackfillJob.State


def series_of(bars: BarStore) -> Series:
    series = bars.find(COIN, MINUTE)
    assert series is not None
    return series


@pytest.fixture
def split(provider: IDataProvider, source: SimulatorServer, bars: BarStore) -> Bars:
    """The stored history is that of before a split of 4 to 1; gives what the source says now."""
    JobScheduler().ensure()
    add_symbol(provider, COIN, "1m")
    assert pull(provider, bars, MINUTE, NOW_MS) == Pulled(asked=1, new=FIRST_BARS)
    true = bars.read(series_of(bars))
    bars.write(series_of(bars), rescaled(true, 4.0, 0.25))
    return true


def later(source: SimulatorServer, provider: IDataProvider, minutes: int) -> int:
    assert isinstance(source.clock, StandingClock)
    source.clock.at_ms = NOW_MS + minutes * MINUTE_MS
    provider.close()
    return source.clock.at_ms


def test_a_rebased_series_is_loaded_whole_and_replaced_at_once(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, split: Bars
) -> None:
    old = bars.read(series_of(bars))
    now_ms = later(source, provider, 2)
    assert pull(provider, bars, MINUTE, now_ms) == Pulled(asked=1, rebased=1)
    series = series_of(bars)
    assert (series.rebased, series.revision) == (pytest.approx(0.25, rel=1e-6), 1)
    assert bars.read(series).same_as(old)  # nothing of the new prices among the old ones
    assert "loaded anew" in Pull.objects.get().error
    (job,) = BackfillJob.objects.all()
    assert (job.state, job.revision, job.start_at) == ("queued", 0, from_ms(series.first_ms or 0))

    seen: list[Bars] = []
    assert backfill_jobs.take(job)
    backfill.run(job, provider, bars, now_ms=now_ms, on_step=lambda step: seen.append(bars.read(series_of(bars))))
    assert [one.same_as(old) for one in seen] == [True] * len(seen) != []
    true = source.market.last(COIN, MINUTE, FIRST_BARS + 2, THIS_MINUTE + 2 * MINUTE_MS)
    series = series_of(bars)
    assert (series.rebased, series.revision, job.revision) == (None, 2, 2)
    assert bars.read(series).same_as(true)
    now_ms = later(source, provider, 3)
    assert pull(provider, bars, MINUTE, now_ms) == Pulled(asked=1, new=1)
    assert Pull.objects.get().error == ""
    assert [row.kind for row in Finding.objects.all()] == ["rebased"]


def test_a_split_is_noticed_after_the_feed_has_connected_and_stored_the_last_bars_anew(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, split: Bars
) -> None:
    bars.push([(series_of(bars), bar) for bar in split[-RECENT_BARS:]])
    assert pull(provider, bars, MINUTE, later(source, provider, 1)) == Pulled(asked=1, rebased=1)
    assert series_of(bars).rebased == pytest.approx(0.25, rel=1e-6)


def test_a_split_between_two_days_is_noticed_however_few_bars_a_clock_would_go_back_over(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    """After a long weekend: by the clock, only one of the daily bars lies within the last few days."""
    add_symbol(provider, SHARE, "1d")
    assert isinstance(source.clock, StandingClock)
    source.clock.at_ms = to_ms(datetime(2026, 9, 8, 21, tzinfo=UTC))  # the Tuesday after Labor Day
    provider.close()
    pull(provider, bars, DAY, source.clock.at_ms)
    series = bars.find(SHARE, DAY)
    assert series is not None
    bars.write(series, rescaled(bars.read(series), 4.0, 0.25))
    source.clock.at_ms += DAY_MS
    provider.close()
    assert pull(provider, bars, DAY, source.clock.at_ms).rebased == 1


def test_while_it_is_loaded_pulls_ask_for_nothing_and_queue_one_job(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, split: Bars
) -> None:
    for minutes in (1, 2, 3):
        pull(provider, bars, MINUTE, later(source, provider, minutes))
    assert BackfillJob.objects.count() == 1
    assert pull(provider, bars, MINUTE, later(source, provider, 4)) == Pulled()
    with pytest.raises(Unavailable, match="are being replaced"):
        bars.write(series_of(bars), split)
    BackfillJob.objects.all().delete()  # as if the process had died before it queued the job
    pull(provider, bars, MINUTE, later(source, provider, 5))
    assert BackfillJob.objects.get().state == "queued"
    BackfillJob.objects.update(state=State.CANCELLED)
    pull(provider, bars, MINUTE, later(source, provider, 6))
    assert BackfillJob.objects.get().state == "cancelled"  # a person's word counts


class Crash(Exception):
    pass


def test_a_reload_that_died_goes_on_in_its_draft_and_one_that_switched_is_done(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, split: Bars
) -> None:
    pull(provider, bars, MINUTE, later(source, provider, 1))
    job = BackfillJob.objects.get()

    def crash(step: object) -> None:
        raise Crash

    assert backfill_jobs.take(job)
    with pytest.raises(Crash):
        backfill.run(job, provider, bars, now_ms=NOW_MS + MINUTE_MS, on_step=crash)
    assert (job.state, job.revision, job.requests) == ("failed", 2, 1)
    start_here(job)
    backfill.run(job, provider, bars, now_ms=NOW_MS + MINUTE_MS)
    assert (job.state, job.revision, job.requests, series_of(bars).revision) == ("done", 2, 1, 2)
    BackfillJob.objects.filter(pk=job.pk).update(state=State.FAILED)  # as if it had died just after the switch
    job.refresh_from_db()
    start_here(job)
    backfill.run(job, provider, bars, now_ms=NOW_MS + MINUTE_MS)
    assert (job.state, job.requests, series_of(bars).revision) == ("done", 1, 2)


def test_wherever_a_reload_dies_readers_have_the_old_history_or_the_new_one(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, split: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, now_ms = bars.read(series_of(bars)), later(source, provider, 1)
    new = source.market.last(COIN, MINUTE, FIRST_BARS + 1, THIS_MINUTE + MINUTE_MS)
    for writes in itertools.count():
        BackfillJob.objects.exclude(state=State.DONE).update(state=State.FAILED)  # nobody works on it any more
        with killed_after(writes, monkeypatch) as killed:
            pull(provider, bars, MINUTE, now_ms, only=frozenset([COIN]))
            for job in BackfillJob.objects.exclude(state=State.DONE):
                start_here(job)
                backfill.run(job, provider, bars, now_ms=now_ms)
        series = series_of(bars)
        assert bars.read(series).same_as(old if series.revision == 1 else new)
        assert bars.latest([series])[series.id].close == (old if series.revision == 1 else new).close[-1]
        if not killed:
            break
    assert writes >= 6
    assert (series.revision > 1, series.rebased, BackfillJob.objects.count()) == (True, None, 1)
    bars.revisions.sweep(grace_s=0)
    assert {chunk["revision"] for chunk in Database().collection("bar_chunk").find()} == {series.revision}


def test_bars_beyond_the_depth_of_the_plan_are_kept_rescaled_and_reported(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, split: Bars
) -> None:
    before = source.market.last(COIN, MINUTE, 100, THIS_MINUTE - 50_000 * MINUTE_MS)  # deeper than the source goes
    bars.write(series_of(bars), rescaled(before, 4.0, 0.25))
    pull(provider, bars, MINUTE, later(source, provider, 1))
    (job,) = BackfillJob.objects.all()
    assert backfill_jobs.take(job)
    backfill.run(job, provider, bars, now_ms=NOW_MS + MINUTE_MS)
    kept = bars.read(series_of(bars), None, THIS_MINUTE - 50_000 * MINUTE_MS)
    assert np.array_equal(kept.time_ms, before.time_ms)
    assert np.allclose(kept.close, before.close, rtol=1e-6)
    assert np.allclose(kept.volume, before.volume, rtol=1e-6)
    found = {row.kind: row.reason for row in Finding.objects.all()}
    assert set(found) == {"rebased", "rescaled"}
    assert found["rescaled"].startswith("100 bars beyond the source's depth were multiplied by 0.25")


def test_bars_older_than_the_first_of_the_source_are_kept_too(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    """From an import, say: the source has nothing before its first bar."""
    JobScheduler().ensure()
    add_symbol(provider, NEW, "1d")
    pull(provider, bars, DAY, NOW_MS)
    series = bars.find(NEW, DAY)
    assert series is not None
    true = bars.read(series)
    older = Bars.from_rows([(int(true.time_ms[0]) - 30 * DAY_MS, 10, 12, 8, 10, 50)])
    bars.write(series, rescaled(Bars.concat([older, true]), 4.0, 0.25))
    source_now = later(source, provider, 24 * 60)
    assert pull(provider, bars, DAY, source_now).rebased == 1
    (job,) = BackfillJob.objects.all()
    assert backfill_jobs.take(job)
    backfill.run(job, provider, bars, now_ms=source_now)
    series = bars.find(NEW, DAY)
    assert series is not None
    assert (series.revision, series.first_ms) == (2, int(older.time_ms[0]))
    assert next(iter(bars.read(series))).close == pytest.approx(10, rel=1e-6)
    assert {row.kind for row in Finding.objects.all()} == {"rebased", "rescaled"}


class Dying(BarStore):
    """A process that is killed before one of its writes."""

    def __init__(self, writes: int) -> None:
        super().__init__(Database())
        self._left = writes

    def write(self, series: Series, bars: Bars) -> Written:
        if not self._left:
            raise Crash
        self._left -= 1
        return super().write(series, bars)


def test_a_reload_that_dies_while_it_carries_old_bars_over_carries_all_of_them(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, split: Bars
) -> None:
    older = [source.market.last(COIN, MINUTE, 50, THIS_MINUTE - weeks * 10_080 * MINUTE_MS) for weeks in (9, 7, 5)]
    for part in older:
        bars.write(series_of(bars), rescaled(part, 4.0, 0.25))
    pull(provider, bars, MINUTE, later(source, provider, 1))
    (job,) = BackfillJob.objects.all()
    for writes in itertools.count(1):  # the first one is a page of the source
        try:
            start_here(job)
            backfill.run(job, provider, Dying(writes), now_ms=NOW_MS + MINUTE_MS)
            break
        except Crash:
            assert series_of(bars).revision == 1
    assert writes > 2
    kept = bars.read(series_of(bars), None, int(older[2].time_ms[-1]) + 1)
    assert np.array_equal(kept.time_ms, np.concatenate([part.time_ms for part in older]))


def test_the_schedule_that_tends_jobs_sweeps_what_was_replaced(bars: BarStore) -> None:
    JobScheduler().ensure()
    series = bars.series(COIN, MINUTE, bars_per_week=10_080)
    bars.revisions.switch(bars.revisions.begin(series))
    aged = {"$set": {"retired.0.at": from_ms(0)}}
    Database().collection("bar_series").update_one({}, aged)
    tasks.tend_backfills()
    stored = Database().collection("bar_series").find_one()
    assert stored is not None
    assert stored["retired"] == []
