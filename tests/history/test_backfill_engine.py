import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, CoverageStore, Database, Series
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.times import from_ms
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.base import History
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill, pulls, upstream
from marketdata.services.backfill import Step
from tests.history.jobs import start_here
from tests.platform.commands import command, environment, manage
from tests.platform.conftest import NOW_MS, add_symbol

MINUTE = INTERVALS["1m"]
COIN, SHARE, YOUNG = "BINANCE:BTCUSDT", "NASDAQ:AAPL", "NASDAQ:NEWCO"
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS


def run(provider: IDataProvider, store: BarStore, key: str, interval: str = "1m", **wish: Any) -> BackfillJob:
    job = BackfillJob(symbol=key, interval=interval, **wish)
    start_here(job)
    backfill.run(job, provider, store, now_ms=NOW_MS)
    assert job.state == "done"
    return job


def told(job: BackfillJob) -> tuple[int, int, int]:
    return job.requests, job.received, job.new


def series_of(bars: BarStore, key: str, interval: str = "1m") -> Series:
    series = bars.find(key, INTERVALS[interval])
    assert series is not None
    return series


class Watched:
    """The real provider, and what it was asked for."""

    def __init__(self, provider: IDataProvider) -> None:
        self._provider = provider
        self.asks: list[dict[str, Any]] = []

    def pages(self, *args: Any, **limits: Any) -> Iterator[History]:
        self.asks.append(limits)
        return self._provider.pages(*args, **limits)


@pytest.mark.parametrize("name", ["1m", "1h", "1d", "1w", "1M"])
def test_a_finished_run_repeated_makes_no_request(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, name: str
) -> None:
    for key in (COIN, SHARE):
        add_symbol(provider, key)
    first = {key: run(provider, bars, key, name, bars=50) for key in (COIN, SHARE)}
    assert [told(job) for job in first.values()] == [(1, 50, 50)] * 2
    upstream.turn(False, "ann")  # a request would be refused from now on
    for key in (COIN, SHARE):
        again = run(provider, bars, key, name, bars=50)
        fewer = run(provider, bars, key, name, bars=7)
        ranged = run(provider, bars, key, name, start_at=first[key].reached_at)
        assert [told(job) for job in (again, fewer, ranged)] == [(0, 0, 0)] * 3


def test_the_command_repeated_sends_nothing(bars: BarStore) -> None:
    """By the real clock, in processes of their own; the second one may not send anything."""
    with SimulatorServer(seed=1) as live:
        arguments = ("backfill", COIN, "NYSE:KO", "--interval", "1w", "--bars", "300")
        first = manage(*arguments, source=live)
        assert first.code == 0, first.err
        chunks = list(Database().collection("bar_chunk").find())
        again = manage(*arguments, source=live, UPSTREAM="off")
        assert again.code == 0, again.err
        assert list(Database().collection("bar_chunk").find()) == chunks != []


def test_a_larger_wish_asks_for_the_rest_alone(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN)
    run(provider, bars, COIN, bars=300)
    watched = Watched(provider)
    more = run(watched, bars, COIN, bars=1000)  # type: ignore[arg-type]
    assert watched.asks == [{"bars": 700, "start_ms": None, "end_ms": THIS_MINUTE - 300 * MINUTE_MS}]
    assert (more.received, more.new) == (700, 700)
    assert bars.read(series_of(bars, COIN)).same_as(source.market.last(COIN, MINUTE, 1000, THIS_MINUTE))


def test_a_hole_in_the_middle_is_found_and_filled_with_nothing_else(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, SHARE)
    day = THIS_MINUTE - THIS_MINUTE % DAY_MS
    for start in (day - 2 * DAY_MS, day):
        run(provider, bars, SHARE, start_at=from_ms(start), end_at=from_ms(start + DAY_MS))
    assert len(bars.read(series_of(bars, SHARE), day - DAY_MS, day)) == 0
    watched = Watched(provider)
    job = run(watched, bars, SHARE, start_at=from_ms(day - 2 * DAY_MS))  # type: ignore[arg-type]
    open_ms = day - DAY_MS + (14 * 60 + 30) * MINUTE_MS
    assert watched.asks == [{"bars": None, "start_ms": open_ms, "end_ms": open_ms + 390 * MINUTE_MS}]
    assert job.received == len(source.market.bars(SHARE, MINUTE, day - DAY_MS, day))
    true = source.market.bars(SHARE, MINUTE, day - 2 * DAY_MS, THIS_MINUTE)
    assert bars.read(series_of(bars, SHARE)).same_as(true)


def test_what_a_pull_has_received_is_not_asked_for_again(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN, "1m")
    pulls.pull(provider, bars, MINUTE, NOW_MS)
    assert told(run(provider, bars, COIN, bars=pulls.FIRST_BARS)) == (0, 0, 0)
    assert CoverageStore(Database()).of(series_of(bars, COIN)).ranges == (
        (THIS_MINUTE - pulls.FIRST_BARS * MINUTE_MS, THIS_MINUTE),
    )


def test_where_the_source_ends_is_recorded_and_believed(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, YOUNG)
    first = run(provider, bars, YOUNG, "1d", bars=100_000)
    found = CoverageStore(Database()).of(series_of(bars, YOUNG, "1d"))
    assert (found.ended, found.ended_ms) == ("end", source.market.first_ms(YOUNG, INTERVALS["1d"]))
    assert found.ended_at is not None
    assert first.ended == "end"
    assert told(run(provider, bars, YOUNG, "1d", bars=100_000)) == (0, 0, 0)
    assert told(run(provider, bars, YOUNG, "1d", start_at=from_ms(0))) == (0, 0, 0)


def test_the_depth_of_a_plan_is_recorded_as_a_limit(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN)
    job = run(provider, bars, COIN, bars=50_000)
    assert (job.ended, job.received) == ("limit", len(bars.read(series_of(bars, COIN))))
    found = CoverageStore(Database()).of(series_of(bars, COIN))
    assert (found.ended, found.ended_ms) == ("limit", int(bars.read(series_of(bars, COIN)).time_ms[0]))
    assert told(run(provider, bars, COIN, bars=50_000)) == (0, 0, 0)


def test_a_new_bar_costs_one_request(provider: IDataProvider, source: SimulatorServer, bars: BarStore) -> None:
    add_symbol(provider, COIN)
    run(provider, bars, COIN, bars=100)
    assert isinstance(source.clock, StandingClock)
    source.clock.at_ms = NOW_MS + 2 * MINUTE_MS
    provider.close()  # the server tells its time as a connection begins
    job = BackfillJob(symbol=COIN, interval="1m", bars=100)
    start_here(job)
    backfill.run(job, provider, bars, now_ms=NOW_MS + 2 * MINUTE_MS)
    assert told(job) == (1, 2, 2)


def test_an_unknown_symbol_of_the_platform_is_backfilled_without_a_plan(
    provider: IDataProvider, bars: BarStore
) -> None:
    assert Symbol.objects.count() == 0
    assert told(run(provider, bars, COIN, bars=100)) == (1, 100, 100)


class Crash(Exception):
    pass


def test_after_a_crash_between_any_two_pages_another_job_goes_on_there(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN)
    requests = 0

    def crash(step: Step) -> None:
        raise Crash

    for _ in range(3):
        job = BackfillJob(symbol=COIN, interval="1m", bars=12_000)
        start_here(job)
        with pytest.raises(Crash):
            backfill.run(job, provider, bars, now_ms=NOW_MS, on_step=crash)
        requests += job.requests
    last = run(provider, bars, COIN, bars=12_000)
    assert (requests + last.requests, last.received) == (3, 0)
    assert bars.read(series_of(bars, COIN)).same_as(source.market.last(COIN, MINUTE, 12_000, THIS_MINUTE))


@pytest.mark.slow
@pytest.mark.parametrize("pages", [1, 2])
def test_after_kill_9_the_same_command_fetches_the_rest_alone(
    source: SimulatorServer, bars: BarStore, pages: int
) -> None:
    arguments = ("backfill", COIN, "--interval", "1m", "--from", "2026-11-11", "--to", "2026-11-18")
    source.faults.set("slow_drip", symbol=None, value=400_000)
    with subprocess.Popen(command(*arguments), env=environment(source), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(pages):
            assert process.stdout.readline().startswith(COIN)
        process.send_signal(signal.SIGKILL)
    (killed,) = BackfillJob.objects.all()
    assert killed.state == "running"
    source.faults.clear()
    ended = manage(*arguments, source=source)
    assert ended.code == 0, ended.err
    (second,) = BackfillJob.objects.filter(state="done")
    day = NOW_MS - NOW_MS % DAY_MS  # of the 19th
    true = source.market.bars(COIN, MINUTE, day - 8 * DAY_MS, day)
    assert bars.read(series_of(bars, COIN)).same_as(true)
    assert (second.received, second.new) == (len(true) - killed.received, len(true) - killed.new)
