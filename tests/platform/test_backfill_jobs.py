from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import LazySettings
from django.utils.module_loading import import_string

from infrastructure.errors import Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database
from infrastructure.scheduling import JobScheduler
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.budget import RequestBudget
from marketdata import tasks
from marketdata.models import BackfillJob
from marketdata.services import backfill, backfill_jobs, schedules, upstream
from tests.platform.conftest import NOW_MS
from tests.servers import free_port

COIN = "BINANCE:BTCUSDT"
State = BackfillJob.State


@pytest.fixture
def job(bars: BarStore) -> BackfillJob:
    JobScheduler().ensure()
    job = BackfillJob(symbol=COIN, interval="1m", bars=12_000)
    backfill_jobs.enqueue(job)
    return job


def queued() -> list[str]:
    jobs = Database().collection("jobs_backfills")
    return [document["_id"] for document in jobs.find({"done": False}, {"_id": True})]


def fresh(job: BackfillJob) -> BackfillJob:
    return BackfillJob.objects.get(pk=job.pk)


def test_every_scheduled_path_can_be_imported() -> None:
    assert all(callable(import_string(plan.func)) for plan in schedules.plans())
    assert import_string(backfill_jobs.TASK) is tasks.run_backfill


def test_a_worker_runs_a_job_to_its_end(job: BackfillJob, source: SimulatorServer, bars: BarStore) -> None:
    assert queued() == [f"backfill:{job.pk}:0"]
    assert tasks.run_backfill(str(job.pk), 0) == "12000 bars received, 12000 new, 0 corrected"
    done = fresh(job)
    assert (done.state, done.received, done.new, done.requests, done.error) == ("done", 12_000, 12_000, 3, "")
    assert None not in (done.started_at, done.finished_at, done.reached_at)
    series = bars.find(COIN, INTERVALS["1m"])
    assert series is not None
    assert bars.read(series).same_as(source.market.last(COIN, INTERVALS["1m"], 12_000, NOW_MS - NOW_MS % 60_000))
    assert tasks.run_backfill(str(job.pk), 0) == "nothing to do: the job was stopped or handed over"


def test_a_stretch_that_took_its_time_is_handed_to_the_next_task(
    job: BackfillJob, source: SimulatorServer, bars: BarStore
) -> None:
    moments = iter((0.0, 1.0, 31.0))
    backfill.work(str(job.pk), 0, monotonic=lambda: next(moments))
    half = fresh(job)
    assert (half.state, half.received, half.run) == ("queued", 9999, 1)
    assert set(queued()) == {f"backfill:{job.pk}:0", f"backfill:{job.pk}:1"}
    tasks.run_backfill(str(job.pk), 1)
    done = fresh(job)
    assert (done.state, done.received, done.new, done.requests) == ("done", 12_000, 12_000, 3)


@pytest.mark.parametrize("stop", [backfill_jobs.pause, backfill_jobs.cancel])
def test_a_person_stops_it_between_two_pages(
    job: BackfillJob, provider: IDataProvider, bars: BarStore, stop: Callable[[BackfillJob], bool]
) -> None:
    assert backfill_jobs.take(job)
    with pytest.raises(backfill.Interrupted):
        backfill.run(job, provider, bars, on_step=lambda step: stop(fresh(job)))
    stopped = fresh(job)
    assert (stopped.state, stopped.received) == ("paused" if stop is backfill_jobs.pause else "cancelled", 4999)


def test_what_was_stopped_goes_on_where_it_was(
    job: BackfillJob, provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    backfill_jobs.take(job)
    with pytest.raises(backfill.Interrupted):
        backfill.run(job, provider, bars, on_step=lambda step: backfill_jobs.pause(fresh(job)))
    assert backfill_jobs.requeue(fresh(job))
    assert not backfill_jobs.requeue(fresh(job))
    tasks.run_backfill(str(job.pk), 1)
    done = fresh(job)
    assert (done.state, done.received, done.new, done.requests) == ("done", 12_000, 12_000, 3)


def test_an_earlier_worker_of_the_job_changes_nothing_any_more(
    job: BackfillJob, provider: IDataProvider, bars: BarStore
) -> None:
    backfill_jobs.take(job)
    late = fresh(job)
    with pytest.raises(backfill.Interrupted):
        backfill.run(job, provider, bars, on_step=lambda step: backfill_jobs.hand_over(fresh(job)))
    assert (fresh(job).received, fresh(job).run) == (4999, 1)
    with pytest.raises(backfill.Interrupted):
        backfill.run(late, provider, bars)
    assert (fresh(job).received, fresh(job).run) == (4999, 1)


def test_a_source_that_is_away_queues_the_job_again_and_tending_tries_it_later(
    job: BackfillJob, settings: LazySettings
) -> None:
    settings.TRADINGVIEW = {**settings.TRADINGVIEW, "websocket_url": f"ws://127.0.0.1:{free_port()}/"}
    with pytest.raises(Unavailable):
        tasks.run_backfill(str(job.pk), 0)
    waiting = fresh(job)
    assert (waiting.state, waiting.run, waiting.failures, "refused" in waiting.error) == ("queued", 1, 1, True)
    assert waiting.beat_at is not None
    assert backfill_jobs.tend(waiting.beat_at + timedelta(seconds=30)) == 0
    assert backfill_jobs.tend(waiting.beat_at + timedelta(seconds=61)) == 1
    assert backfill_jobs.tend(waiting.beat_at + timedelta(seconds=62)) == 1
    assert set(queued()) == {f"backfill:{job.pk}:0", f"backfill:{job.pk}:1"}  # once, however often it is tended


def test_a_source_that_stays_away_fails_the_job_in_the_end(job: BackfillJob, settings: LazySettings) -> None:
    settings.TRADINGVIEW = {**settings.TRADINGVIEW, "websocket_url": f"ws://127.0.0.1:{free_port()}/"}
    for run in range(backfill_jobs.MAX_FAILURES):
        assert fresh(job).state == "queued"
        with pytest.raises(Unavailable):
            tasks.run_backfill(str(job.pk), run)
    assert (fresh(job).state, fresh(job).failures) == ("failed", backfill_jobs.MAX_FAILURES)


def test_upstream_off_pauses_the_job(job: BackfillJob, source: SimulatorServer) -> None:
    upstream.turn(False, "ann")
    assert tasks.run_backfill(str(job.pk), 0) == "paused: Upstream traffic is off: ann switched it off."
    assert (fresh(job).state, fresh(job).error) == ("paused", "Upstream traffic is off: ann switched it off.")


def test_a_symbol_the_source_does_not_know_fails_the_job(job: BackfillJob, source: SimulatorServer) -> None:
    BackfillJob.objects.update(symbol="NASDAQ:NOPE")
    with pytest.raises(Exception, match="NASDAQ:NOPE"):
        tasks.run_backfill(str(job.pk), 0)
    assert (fresh(job).state, "NASDAQ:NOPE" in fresh(job).error) == ("failed", True)


def test_a_job_whose_worker_died_is_given_to_another(
    job: BackfillJob, source: SimulatorServer, provider: IDataProvider, bars: BarStore
) -> None:
    backfill_jobs.take(job)
    job.received = 0
    beat = fresh(job).beat_at
    assert beat is not None
    assert backfill_jobs.tend(beat + timedelta(minutes=4)) == 0
    assert fresh(job).state == "running"
    backfill_jobs.tend(beat + timedelta(minutes=6))
    assert (fresh(job).state, fresh(job).run, fresh(job).failures) == ("queued", 1, 1)
    tasks.run_backfill(str(job.pk), 1)
    assert (fresh(job).state, fresh(job).received, fresh(job).failures) == ("done", 12_000, 0)


def test_a_job_whose_queue_entry_was_lost_is_queued_anew(job: BackfillJob) -> None:
    Database().collection("jobs_backfills").update_many({}, {"$set": {"done": True}})
    assert backfill_jobs.tend(job.created_at + timedelta(seconds=59)) == 0
    assert backfill_jobs.tend(job.created_at + timedelta(seconds=61)) == 1
    assert queued() == [f"backfill:{job.pk}:1"]
    Database().collection("jobs_backfills").delete_many({})
    assert backfill_jobs.tend(job.created_at + timedelta(minutes=3)) == 1
    assert queued() == [f"backfill:{job.pk}:1"]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_job_that_no_worker_survived_fails_with_the_reason_and_can_be_resumed(job: BackfillJob, state: str) -> None:
    """As the queue marks it after its last delivery; no worker is left that could say so."""
    if state == "running":
        backfill_jobs.take(job)
    Database().collection("jobs_backfills").update_many({}, {"$set": {"done": True, "dead": True}})
    assert backfill_jobs.tend(datetime.now(UTC)) == 0
    failed = fresh(job)
    assert (failed.state, failed.error) == (
        "failed", "Every worker that was given it died of it: see their log before it is resumed.",
    )  # fmt: skip
    assert failed.finished_at is not None
    assert tasks.run_backfill(str(job.pk), 0) == "nothing to do: the job was stopped or handed over"
    assert backfill_jobs.requeue(failed)
    assert queued() == [f"backfill:{job.pk}:2"]


def test_a_task_waits_for_no_turn_that_comes_after_its_time(
    job: BackfillJob, source: SimulatorServer, settings: LazySettings
) -> None:
    settings.TRADINGVIEW = {**settings.TRADINGVIEW, "pause_s": 50.0}  # between requests; a task has 30 s
    budget = RequestBudget.from_settings()
    budget.turn_s(50.0)  # another process
    assert tasks.run_backfill(str(job.pk), 0) == "waits: Too many requests to the source are waiting already."
    waiting = fresh(job)
    assert (waiting.state, waiting.failures, waiting.run, waiting.received) == ("queued", 0, 1, 0)
    assert waiting.beat_at is not None
    assert backfill_jobs.tend(waiting.beat_at + timedelta(seconds=61)) == 1
    assert set(queued()) == {f"backfill:{job.pk}:0", f"backfill:{job.pk}:1"}


def test_old_finished_jobs_are_deleted(job: BackfillJob) -> None:
    now = datetime.now(UTC)
    for days, state in ((31, State.DONE), (29, State.DONE), (31, State.FAILED), (31, State.PAUSED)):
        BackfillJob.objects.create(
            symbol=COIN, interval="1m", bars=days, state=state, finished_at=now - timedelta(days=days)
        )
    backfill_jobs.tend(now)
    left = BackfillJob.objects.exclude(pk=job.pk)
    assert sorted((row.bars, row.state) for row in left) == [(29, "done"), (31, "paused")]
