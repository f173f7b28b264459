"""Backfill jobs in real worker clusters: chains of short tasks, and what becomes of a job whose worker dies."""

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, Database
from infrastructure.scheduling.broker import MAX_DELIVERIES
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.budget import RequestBudget
from marketdata.models import BackfillJob
from marketdata.services import backfill_jobs
from tests.platform.conftest import NOW_MS, add_symbol
from tests.scheduling.conftest import scheduler, start
from tests.scheduling.processes import Cluster, Start, wait_for

__all__ = ["scheduler", "start"]
pytestmark = pytest.mark.slow

COIN, MINUTE = "BINANCE:BTCUSDT", INTERVALS["1m"]
PAGE, PAGES = 1000, 12


def cluster(start: Start, source: SimulatorServer) -> Cluster:
    """Tasks hand over after 2 s of 6; what a dead worker held is given to another 11 s after it got it."""
    environment = {
        "TRADINGVIEW_WEBSOCKET_URL": source.websocket_url,
        "TRADINGVIEW_PAGE_BARS": str(PAGE),
        "TRADINGVIEW_PAUSE_S": "0.7",
        "TASK_TIMEOUT": "6",
    }
    return start("backfills", environment=environment)


@pytest.fixture
def job(provider: IDataProvider, bars: BarStore) -> BackfillJob:
    add_symbol(provider, COIN)
    # The newest bar of the first page is forming.
    return BackfillJob(symbol=COIN, interval="1m", bars=PAGES * PAGE - 1)


def fresh(job: BackfillJob) -> BackfillJob:
    return BackfillJob.objects.get(pk=job.pk)


def is_done(job: BackfillJob) -> bool:
    """Tended as by the schedule, a minute later: on a slow machine a task may be over before its first page."""
    backfill_jobs.tend(datetime.now(UTC) + timedelta(seconds=61))
    return fresh(job).state == "done"


def asked() -> int:
    counts = RequestBudget.from_settings().state().counts
    return sum(day.get("backfill", 0) for day in counts.values())


def entries() -> dict[str, int]:
    """Deliveries by the key of the queue entry."""
    return {one["_id"]: one["deliveries"] for one in Database().collection("jobs_backfills").find()}


def working(cluster: Cluster) -> int | None:
    """The process that runs a task."""
    return next((child.pid for child in cluster.tree() if " processing " in " ".join(child.cmdline())), None)


def check_whole(job: BackfillJob, bars: BarStore, source: SimulatorServer) -> None:
    series = bars.find(COIN, MINUTE)
    assert series is not None
    true = source.market.last(COIN, MINUTE, PAGES * PAGE - 1, NOW_MS - NOW_MS % MINUTE_MS)
    assert bars.read(series).same_as(true)
    assert (job.received, job.new, job.requests) == (PAGES * PAGE - 1, PAGES * PAGE - 1, PAGES)


def test_a_job_is_a_chain_of_short_tasks_that_ask_for_nothing_twice(
    job: BackfillJob, source: SimulatorServer, bars: BarStore, start: Start
) -> None:
    for _ in range(2):
        cluster(start, source)
    backfill_jobs.enqueue(job)
    wait_for(lambda: is_done(job))
    done = fresh(job)
    check_whole(done, bars, source)
    wait_for(lambda: not Database().collection("jobs_backfills").count_documents({"done": False}))
    assert len(entries()) >= 3
    assert set(entries().values()) == {1}
    assert asked() <= PAGES + len(entries())  # each task makes a connection


@pytest.mark.parametrize("who", ["worker", "cluster"])
def test_a_job_whose_worker_is_killed_goes_on_at_its_last_page(
    job: BackfillJob, source: SimulatorServer, bars: BarStore, start: Start, who: str
) -> None:
    backfill_jobs.enqueue(job)
    first = cluster(start, source)
    wait_for(lambda: fresh(job).requests >= 2)
    if who == "worker":
        os.kill(wait_for(lambda: working(first)), signal.SIGKILL)
    else:
        wait_for(lambda: working(first))
        first.kill()
        cluster(start, source)
    wait_for(lambda: is_done(job))
    done = fresh(job)
    check_whole(done, bars, source)
    deliveries = entries()
    assert sum(deliveries.values()) == len(deliveries) + 1
    assert asked() <= PAGES + 1 + sum(deliveries.values())


def test_a_job_that_is_given_up_says_so(job: BackfillJob, source: SimulatorServer, start: Start) -> None:
    backfill_jobs.enqueue(job)
    Database().collection("jobs_backfills").update_one({}, {"$set": {"deliveries": MAX_DELIVERIES}})
    cluster(start, source).says(f"job backfill:{job.pk}:0 is dead")
    wait_for(lambda: Database().collection("jobs_backfills").count_documents({"dead": True}))
    backfill_jobs.tend(datetime.now(UTC))
    assert (fresh(job).state, fresh(job).error) == (
        "failed", "Every worker that was given it died of it: see their log before it is resumed.",
    )  # fmt: skip
