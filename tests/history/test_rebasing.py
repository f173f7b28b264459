import itertools
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from marketdata.services.rebasing import factor, rescaled, volume_factor
from tests.history.dying import killed_after
from tests.history.jobs import start_here
from tests.platform.conftest import NOW_MS, add_symbol

MINUTE, DAY = INTERVALS["1m"], INTERVALS["1d"]
COIN, SHARE, NEW = "BINANCE:BTCUSDT", "NASDAQ:AAPL", "NASDAQ:NEWCO"
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS
State = BackfillJob.State


def priced(*closes: float, spread: float = 0.5) -> Bars:
    rows = [
        (number * MINUTE_MS, close, close + spread, close - spread, close, 10.0) for number, close in enumerate(closes)
    ]
    return Bars.from_rows(rows)


def ticked(bars: Bars, tick: float) -> Bars:
    columns = [np.round(column / tick) * tick for column in bars.columns[1:5]]
    return Bars(bars.time_ms, *columns, bars.volume)


# --- Is it one factor? ---


@settings(deadline=None)
@given(
    st.lists(st.floats(20, 900), min_size=2, max_size=8),
    st.sampled_from([0.02, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.985, 1.5, 2.0, 3.0, 10.0]),
)
def test_a_split_is_seen_through_the_rounding_of_both_sides(closes: list[float], ratio: float) -> None:
    old = ticked(priced(*closes), 0.01)
    new = ticked(rescaled(old, ratio, 1 / ratio), 0.01)
    found = factor(old, new, 0.01)
    assert found is not None
    again = ticked(rescaled(old, found, 1 / found), 0.01)
    assert np.abs(again.close - new.close).max() <= 0.01 * (1 + 1e-6) * max(1.0, ratio)


@pytest.mark.parametrize("ratio", [0.25, 1 / 3, 1.5, 2.0, 10.0, 0.05])
def test_the_factor_of_a_split_is_exact(ratio: float) -> None:
    old = ticked(priced(512.34, 498.77, 505.01, 511.99), 0.01)
    assert factor(old, ticked(rescaled(old, ratio, 1.0), 0.01), 0.01) == ratio


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (priced(100, 101, 102), priced(100, 101, 102)),
        (priced(100, 101, 102), priced(50, 101, 102)),  # one corrected bar
        (priced(100, 101, 102), priced(50, 50.5, 60)),  # several corrections
        (priced(100, 101, 102), priced(100.01, 101.01, 102.01)),  # a tick
        (priced(100), priced(50)),  # one bar proves nothing
        (priced(-2, 1, 3), priced(-4, 2, 6)),
        (priced(100, 101), priced()),
    ],
)  # fmt: skip
def test_corrections_are_no_split(old: Bars, new: Bars) -> None:
    assert factor(old, new, 0.01) is None


def test_newer_bars_that_were_stored_since_do_not_hide_a_split() -> None:
    """The feed stores the last few bars anew when it connects, with the new prices."""
    before = priced(100, 101, 102, 103, 104, 105)
    after = rescaled(before, 0.5, 2.0)
    for changed, found in ((6, 0.5), (4, 0.5), (3, 0.5), (2, None), (1, None), (0, None)):
        assert factor(Bars.concat([before[:changed], after[changed:]]), after, 0.01) == found
    corrected = Bars.concat([after[:3], before[3:]])  # the newest ones differ: a feed has stored nothing like this
    assert factor(corrected, after, 0.01) is None


def test_only_bars_that_both_have_are_compared() -> None:
    old, new = priced(100, 101, 102, 103), rescaled(priced(100, 101, 102, 103, 999), 0.5, 2.0)
    assert factor(old[1:3], new, 0.01) == 0.5


def test_volumes_have_a_factor_of_their_own_or_none() -> None:
    old = priced(100, 101, 102)
    assert volume_factor(old, rescaled(old, 0.5, 2.0)) == 2.0
    assert volume_factor(old, rescaled(old, 0.5, 1.0)) == 1.0
    odd = Bars(*old.columns[:5], old.volume * np.array([1.0, 2.0, 3.0]))  # type: ignore[arg-type]
    assert volume_factor(old, odd) == 1.0


# --- The whole way ---


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
