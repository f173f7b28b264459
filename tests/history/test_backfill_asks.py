"""How many requests a backfill makes, counted where they are made: whatever interrupts it, at most the page that was
under way is asked for again."""

import signal
import subprocess
from collections.abc import Callable

import pytest
import redis
from django.conf import LazySettings

from infrastructure.errors import Unavailable
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, keys
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.budget import RequestBudget
from marketdata.models import BackfillJob
from marketdata.providers import get_provider
from marketdata.services import backfill, backfill_jobs
from marketdata.services.backfill import Interrupted, Step
from tests.history.jobs import start_here
from tests.platform.commands import command, environment, manage
from tests.platform.conftest import NOW_MS, add_symbol

COIN, MINUTE = "BINANCE:BTCUSDT", INTERVALS["1m"]
BARS, PAGES = 34_000, 7
BEFORE = 5  # pages, when the interruption comes


def asked() -> int:
    """Requests and connections."""
    counts = RequestBudget.from_settings().state().counts
    return sum(day.get("backfill", 0) for day in counts.values())


def run(job: BackfillJob, provider: IDataProvider, store: BarStore, on_step: Callable[[Step], None]) -> None:
    start_here(job)
    backfill.run(job, provider, store, now_ms=NOW_MS, on_step=on_step)


def after_pages(count: int, act: Callable[[], object]) -> Callable[[Step], None]:
    left = iter(range(count - 1, -1, -1))

    def on_step(step: Step) -> None:
        if next(left, None) == 0:
            act()

    return on_step


@pytest.fixture
def job(provider: IDataProvider, bars: BarStore) -> BackfillJob:
    add_symbol(provider, COIN)
    provider.close()
    return BackfillJob(symbol=COIN, interval="1m", bars=BARS)


def nothing(step: Step) -> None:
    pass


def whole(bars: BarStore, source: SimulatorServer) -> bool:
    series = bars.find(COIN, MINUTE)
    assert series is not None
    return bars.read(series).same_as(source.market.last(COIN, MINUTE, BARS, NOW_MS - NOW_MS % MINUTE_MS))


def test_undisturbed_each_page_is_asked_for_once_and_never_again(
    job: BackfillJob, provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    run(job, provider, bars, nothing)
    assert (asked(), job.requests) == (1 + PAGES, PAGES)
    assert whole(bars, source)
    again = BackfillJob(symbol=COIN, interval="1m", bars=BARS)
    run(again, provider, bars, nothing)
    assert (asked(), again.requests) == (1 + PAGES, 0)


def test_after_a_cut_the_page_under_way_alone_is_asked_for_again(
    job: BackfillJob, provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    cut = after_pages(BEFORE, lambda: source.faults.set("close_mid_batch", times=1))
    with pytest.raises(Unavailable):
        run(job, provider, bars, cut)
    assert (asked(), job.requests) == (1 + BEFORE + 1, BEFORE)
    run(job, provider, bars, nothing)
    assert asked() == 2 + PAGES + 1
    assert (job.state, job.requests, job.received) == ("done", PAGES, BARS)
    assert whole(bars, source)


def test_after_a_pause_the_page_under_way_alone_is_asked_for_again(
    job: BackfillJob, provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    pause = after_pages(BEFORE, lambda: backfill_jobs.pause(BackfillJob.objects.get(pk=job.pk)))
    with pytest.raises(Interrupted):
        run(job, provider, bars, pause)
    assert (asked(), job.requests) == (1 + BEFORE + 1, BEFORE)
    with get_provider() as another:
        run(job, another, bars, nothing)
    assert asked() == 2 + PAGES + 1
    assert (job.state, job.received) == ("done", BARS)
    assert whole(bars, source)


def test_after_kill_9_the_page_under_way_alone_is_asked_for_again(
    job: BackfillJob, source: SimulatorServer, bars: BarStore
) -> None:
    """Killed while it waits for the next page, which it has taken its turn for."""
    wish = ("--interval", "1m", "--from", "2026-10-27", "--to", "2026-11-18T23:59")
    variables = environment(source, TRADINGVIEW_PAUSE_S="1")
    with subprocess.Popen(
        command("backfill", COIN, *wish), env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(BEFORE):
            assert process.stdout.readline().startswith(COIN)
        source.faults.set("silence")
        while (before := asked()) < 1 + BEFORE + 1:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    (killed,) = BackfillJob.objects.all()
    source.faults.clear()
    ended = manage("backfill", COIN, *wish, source=source)
    assert ended.code == 0, ended.err
    (second,) = BackfillJob.objects.filter(state="done")
    assert killed.requests == BEFORE
    assert asked() - before == 1 + second.requests
    assert killed.requests + second.requests == PAGES
    assert second.received == 23 * 1440 - 1 - killed.received


def test_a_range_far_back_is_not_reached_through_everything_newer(
    job: BackfillJob, provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    end_ms = NOW_MS - NOW_MS % MINUTE_MS - 30_000 * MINUTE_MS
    page = provider.history(COIN, MINUTE, start_ms=end_ms - 1000 * MINUTE_MS, end_ms=end_ms)
    assert page.bars.same_as(source.market.bars(COIN, MINUTE, end_ms - 1000 * MINUTE_MS, end_ms))
    counts = RequestBudget.from_settings().state().counts
    assert sum(day["other"] for day in counts.values()) == 2 + 2  # once more for the symbol


def test_several_processes_with_several_series_keep_one_pace(
    source: SimulatorServer, bars: BarStore, settings: LazySettings
) -> None:
    """Each request puts off the next one, whoever makes it: the last turn of all tells how many there were."""
    pause_s, wishes = 0.5, (("BINANCE:BTCUSDT", "NASDAQ:AAPL"), ("BINANCE:ETHUSDT", "NYSE:KO"))
    variables = environment(source, TRADINGVIEW_PAUSE_S=str(pause_s))
    with redis.Redis.from_url(f"{settings.REDIS_URL}/{settings.REDIS_DB}") as client:
        began_ms = client.time()[0] * 1000
        processes = [
            subprocess.Popen(command("backfill", *wish, "--bars", "6000"), env=variables, stdout=subprocess.DEVNULL)
            for wish in wishes
        ]
        assert [process.wait(120) for process in processes] == [0, 0]
        next_ms = int(client.hget(keys.BUDGET, "next"))
    symbols, pages = 4, 4 * 2
    counts = RequestBudget.from_settings().state().counts
    made = {cause: sum(day.get(cause, 0) for day in counts.values()) for cause in ("symbols", "backfill")}
    # With the connections: one of each process for its symbols, then one for each of two series at once.
    assert made == {"symbols": symbols + 2, "backfill": pages + 4}
    assert next_ms - began_ms >= (symbols + pages) * pause_s * 1000
