"""Several series in one `manage.py backfill`: at once, failing, paused, in the background, interrupted."""

import json
import signal
import subprocess

import pytest
import redis
from django.conf import LazySettings

from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, Database, keys
from infrastructure.simulator import SimulatorServer
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill_jobs
from tests.history.backfilling import COIN, ETHER, SHARE, YOUNG, backfill, failing, requests, series_of, stored
from tests.platform.commands import command, environment, manage
from tests.platform.conftest import NOW_MS

MINUTE = INTERVALS["1m"]
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS


def free(settings: LazySettings) -> None:
    """Nobody waits for a turn any more."""
    with redis.Redis.from_url(f"{settings.REDIS_URL}/{settings.REDIS_DB}") as client:
        client.delete(keys.BUDGET)


def test_several_series_are_fetched_at_once_over_as_many_connections(
    known: None, source: SimulatorServer, bars: BarStore
) -> None:
    rows = series_of("--all", "--interval", "1m,5m", "--bars", "6000", "--parallel", "3")
    assert [(row["state"], row["received"], row["error"]) for row in rows] == [("done", 6000, None)] * 6
    assert requests() == 3 + 6 * 2
    for key in (COIN, ETHER, SHARE):
        for name in ("1m", "5m"):
            interval = INTERVALS[name]
            until = source.market.forming(key, interval, NOW_MS)
            assert until is not None
            assert stored(bars, key, name)[1].same_as(source.market.last(key, interval, 6000, until.time_ms))


def test_one_that_fails_stops_no_other(known: None, source: SimulatorServer, bars: BarStore) -> None:
    Symbol.objects.create(key="NASDAQ:NOPE")
    error, rows = failing("NASDAQ:NOPE", COIN, SHARE, "--bars", "100", "--parallel", "1")
    assert [(row["state"], row["received"]) for row in rows] == [("failed", 0), ("done", 100), ("done", 100)]
    assert "TradingView has no symbol NASDAQ:NOPE for this account" in rows[0]["error"]
    assert error.returncode == 1
    assert str(error) == f"1 of 3 series were not finished. NASDAQ:NOPE 1m: {rows[0]['error']}"


def test_a_connection_that_is_cut_is_made_anew_and_asks_for_the_rest(
    known: None, source: SimulatorServer, bars: BarStore
) -> None:
    source.faults.set("close_mid_batch", symbol=COIN, times=1)
    rows = series_of(COIN, SHARE, "--bars", "12000")
    assert [(row["state"], row["received"]) for row in rows] == [("done", 12_000)] * 2
    assert stored(bars, COIN)[1].same_as(source.market.last(COIN, MINUTE, 12_000, THIS_MINUTE))


def test_somebody_may_pause_one_of_them_meanwhile(known: None, source: SimulatorServer, bars: BarStore) -> None:
    wish = command("backfill", COIN, SHARE, "--bars", "6000")
    variables = environment(source, TRADINGVIEW_PAUSE_S="2")
    with subprocess.Popen(wish, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline().split()[0]
        assert backfill_jobs.pause(BackfillJob.objects.get(symbol=first))
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    jobs = {job.symbol: job for job in BackfillJob.objects.all()}
    paused, other = jobs.pop(first), next(iter(jobs.values()))
    assert (paused.state, paused.received, other.state, other.received) == ("paused", 4999, "done", 6000)
    assert said.splitlines()[-1].endswith(
        f"1 of 2 series were not finished. {first} 1m: {first} 1m is paused. "
        f"Go on with: manage.py backfill --resume {paused.pk}"
    )


def test_in_the_background_jobs_wait_for_the_worker(known: None, source: SimulatorServer, bars: BarStore) -> None:
    before = source.connections
    lines = backfill(COIN, SHARE, "--bars", "500", "--background").splitlines()
    jobs = list(BackfillJob.objects.order_by("pk"))
    assert lines == [f"{job.pk} {job}" for job in jobs]
    assert [(job.symbol, job.state, job.bars) for job in jobs] == [(COIN, "queued", 500), (SHARE, "queued", 500)]
    queued = Database().collection("jobs_backfills").find({}, sort=[("_id", 1)])
    assert [one["_id"] for one in queued] == [f"backfill:{job.pk}:0" for job in jobs]
    assert source.connections == before


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_all_that_are_not_finished_can_be_resumed_after_an_interruption(
    known: None, source: SimulatorServer, bars: BarStore, stop: signal.Signals, settings: LazySettings
) -> None:
    """One needs no request, one gets its turn, the others wait for theirs."""
    limits = ("--interval", "1d", "--from", "2026-11-02", "--to", "2026-11-13")
    backfill(YOUNG, *limits)
    BackfillJob.objects.all().delete()
    free(settings)
    wish = (YOUNG, COIN, ETHER, SHARE, *limits, "--parallel", "2")
    variables = environment(source, TRADINGVIEW_PAUSE_S="40")
    with subprocess.Popen(
        command("backfill", *wish), env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline().split(" ")[0]  # of two threads either may be the quicker one
        process.send_signal(stop)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    jobs = {job.symbol: job for job in BackfillJob.objects.all()}
    second = {COIN: ETHER, ETHER: COIN}[first]
    assert {key: job.state for key, job in jobs.items()} == {
        YOUNG: "done", first: "done", second: "paused", SHARE: "paused",
    }  # fmt: skip
    ids = [str(jobs[key].pk) for key in (second, SHARE)]
    assert said.splitlines()[-1].endswith(f"Interrupted. Go on with: manage.py backfill --resume {' '.join(ids)}")
    free(settings)
    resumed = manage("backfill", "--resume", *ids, "--json", source=source)
    assert resumed.code == 0, resumed.err
    rows = json.loads(resumed.out)["series"]
    assert [(row["job"], row["state"], row["received"]) for row in rows] == [
        (ids[0], "done", 12),
        (ids[1], "done", 10),
    ]
