"""What `manage.py backfill` can be asked for, against the simulator: symbols, plans, gaps, verification, several."""

import json
import re
import signal
import subprocess
from io import StringIO
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from infrastructure.bars import Bars
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, CoverageStore, Database, Series, keys
from infrastructure.simulator import SimulatorServer
from infrastructure.times import from_ms
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.budget import RequestBudget
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill as engine
from marketdata.services import backfill_jobs, forecast
from tests.history.jobs import start_here
from tests.platform.commands import command, environment, manage
from tests.platform.conftest import NOW_MS, add_symbol

MINUTE = INTERVALS["1m"]
COIN, ETHER, SHARE, YOUNG = "BINANCE:BTCUSDT", "BINANCE:ETHUSDT", "NASDAQ:AAPL", "NASDAQ:NEWCO"
DAY = NOW_MS - NOW_MS % DAY_MS
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS
STORED = ("bar_chunk", "bar_series", "bar_coverage", "backfill_job", "symbol", "finding", "jobs_backfills")


def backfill(*arguments: str) -> str:
    out = StringIO()
    call_command("backfill", *arguments, stdout=out)
    return out.getvalue()


def series_of(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(backfill(*arguments, "--json"))["series"]
    return found


def failing(*arguments: str) -> tuple[CommandError, list[dict[str, Any]]]:
    out = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("backfill", *arguments, "--json", stdout=out)
    return failed.value, json.loads(out.getvalue())["series"]


def everything() -> dict[str, list[Any]]:
    return {name: list(Database().collection(name).find()) for name in STORED}


def requests(cause: str = "backfill") -> int:
    counts = RequestBudget.from_settings().state().counts
    return sum(day.get(cause, 0) for day in counts.values())


def stored(bars: BarStore, key: str, interval: str = "1m") -> tuple[Series, Bars]:
    series = bars.find(key, INTERVALS[interval])
    assert series is not None
    return series, bars.read(series)


@pytest.fixture
def known(provider: IDataProvider) -> None:
    for key in (COIN, ETHER, SHARE):
        add_symbol(provider, key)
    add_symbol(provider, YOUNG, active=False)


def free(settings: LazySettings) -> None:
    """Nobody waits for a turn any more."""
    with redis.Redis.from_url(f"{settings.REDIS_URL}/{settings.REDIS_DB}") as client:
        client.delete(keys.BUDGET)


# --- Which ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        (("NASDAQ:*",), [SHARE, YOUNG]),
        (("nasdaq:n*", COIN), [YOUNG, COIN]),
        (("*USDT", "BINANCE:[AB]TCUSDT"), [COIN, ETHER]),
        (("NASDAQ:NEWC?",), [YOUNG]),
        (("--all",), [COIN, ETHER, SHARE]),
    ],
)
def test_patterns_stand_for_known_symbols_and_all_for_active_ones(
    known: None, symbols: tuple[str, ...], expected: list[str]
) -> None:
    found = series_of(*symbols, "--interval", "1d,1w", "--interval", "1d", "--bars", "3", "--dry-run")
    assert [(one["symbol"], one["interval"]) for one in found] == [
        (key, name) for key in expected for name in ("1d", "1w")
    ]


ONE_WISH = ("--bars", "5")
NONSENSE = [
    (("LSE:*", *ONE_WISH), "No symbol of this platform matches 'LSE:*'."),
    (("--all", COIN, *ONE_WISH), "--all means every active symbol, so name none besides."),
    (
        (COIN, "--days", "5", *ONE_WISH),
        "--days counts back from now, so it goes with none of --bars, --from and --to.",
    ),
    ((COIN, "--days", "0"), "The number of days must be between 1 and 36,600, not 0."),
    (
        (COIN, "--gaps", *ONE_WISH),
        "--gaps fills what is missing inside a series, so only --from and --to may limit it.",
    ),
    (
        (COIN, "--gaps", "--force"),
        "--gaps fills what is missing inside a series, so only --from and --to may limit it.",
    ),
    ((COIN, *ONE_WISH, "--dry-run", "--verify"), "--dry-run and --verify are two different things: choose one."),
    ((COIN, *ONE_WISH, "--verify", "--background"), "--verify and --background are two different things: choose one."),
    ((COIN, *ONE_WISH, "--verify", "--force"), "--verify reads the source anyway, so --force means nothing with it."),
    (
        (COIN, *ONE_WISH, "--background", "--parallel", "3"),
        "--background leaves the work to the worker, so --parallel means nothing with it.",
    ),
    ((COIN, *ONE_WISH, "--parallel", "21"), "--parallel takes a number between 1 and 20, not 21."),
    (("--resume", "0" * 24, "--all"), "--resume takes everything from the jobs, so it goes with nothing else."),
    ((COIN, "--interval", "1m,7m", *ONE_WISH), "There is no interval '7m'; choose one of 1m, 3m"),
]


def test_what_makes_no_sense_is_refused_in_a_sentence_and_changes_nothing(
    known: None, source: SimulatorServer, subtests: pytest.Subtests
) -> None:
    before = everything()
    for arguments, sentence in NONSENSE:
        with subtests.test(" ".join(arguments)), pytest.raises(CommandError) as failed:
            backfill(*arguments)
        assert str(failed.value).startswith(sentence)
        assert failed.value.returncode == 1
    assert everything() == before
    assert requests() == 0


def test_without_an_active_symbol_all_means_nothing(empty: None) -> None:
    with pytest.raises(CommandError, match=r"^No symbol is active\.$"):
        backfill("--all", "--bars", "5")


# --- Plans ----------------------------------------------------------------------------------------------------------


def test_days_count_back_from_now(known: None, bars: BarStore) -> None:
    """By the machine's clock, so only the beginning of the wish is looked at."""
    (one,) = json.loads(backfill(COIN, "--days", "3", "--background", "--json"))["jobs"]
    job = BackfillJob.objects.get(pk=one["job"])
    assert job.start_at is not None
    assert round((job.created_at - job.start_at).total_seconds() / 86_400, 3) == 3
    assert (job.bars, job.end_at) == (None, None)


WISHES = {
    "nothing is there": ((COIN, "--bars", "12000"), ()),
    "some is there": ((COIN, "--bars", "12000"), ((COIN, {"bars": 2500}),)),
    "a hole": (
        (SHARE, "--from", "2026-11-17", "--to", "2026-11-19T14:35"),
        (
            (SHARE, {"start_at": from_ms(DAY - 2 * DAY_MS), "end_at": from_ms(DAY - DAY_MS)}),
            (SHARE, {"start_at": from_ms(DAY), "end_at": from_ms(DAY + DAY_MS)}),
        ),
    ),
    "a number over a hole": (
        (SHARE, "--bars", "900", "--interval", "1m"),
        ((SHARE, {"start_at": from_ms(DAY - 2 * DAY_MS), "end_at": from_ms(DAY - DAY_MS)}),),
    ),
    "all is there": ((COIN, "--bars", "500"), ((COIN, {"bars": 500}),)),
    "by force": ((COIN, "--bars", "500", "--force"), ((COIN, {"bars": 500}),)),
    "a source that ended": (
        (YOUNG, "--interval", "1d", "--from", "1990-01-01"),
        ((YOUNG, {"interval": "1d", "bars": 10_000}),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WISHES)
def test_a_plan_asks_nothing_writes_nothing_and_is_what_then_happens(
    known: None, provider: IDataProvider, source: SimulatorServer, bars: BarStore, case: str, monkeypatch: Any
) -> None:
    wish, before = WISHES[case]
    monkeypatch.setattr(Database, "now_ms", lambda self: NOW_MS)  # the clock of the store is that of the source
    for key, limits in before:
        job = BackfillJob(**{"symbol": key, "interval": "1m", **limits})
        start_here(job)
        engine.run(job, provider, bars)
    asked, there, connections = requests(), everything(), source.connections
    plan = json.loads(backfill(*wish, "--dry-run", "--json"))
    assert (requests(), everything(), source.connections) == (asked, there, connections)
    (planned,) = plan["series"]
    assert (plan["bars"], plan["requests"]) == (planned["bars"], planned["requests"])
    assert sum(part["bars"] for part in planned["ranges"]) == planned["bars"]
    (done,) = series_of(*wish)
    assert done["received"] == planned["bars"]
    made = requests() - asked - bool(planned["requests"])  # a connection counts as well
    assert made == planned["requests"]


def test_a_plan_says_how_long_it_takes_at_the_present_pace(known: None, settings: Any) -> None:
    settings.TRADINGVIEW = {**settings.TRADINGVIEW, "pause_s": 2.0}
    for slower in (1, 2):
        plan = json.loads(backfill(COIN, ETHER, "--bars", "20000", "--dry-run", "--json"))
        assert (plan["requests"], plan["seconds"]) == (8, 8 * 2.0 * slower)
        RequestBudget.from_settings().slow_down(None)
    settings.TRADINGVIEW = {**settings.TRADINGVIEW, "pause_s": 0.0}
    assert forecast.seconds(10, 2) == 10 * forecast.ANSWER_S / 2


def test_a_plan_is_shown_to_people(known: None, provider: IDataProvider, bars: BarStore) -> None:
    said = backfill(COIN, "NASDAQ:META", "--from", "2026-11-17", "--to", "2026-11-17", "--dry-run")
    table = re.sub(" +", " ", said)
    assert "│ BINANCE:BTCUSDT 1m │ 2026-11-17 00:00 │ 2026-11-18 00:00 │ 1,440 │ 1 │" in table
    assert "│ NASDAQ:META 1m (trading hours unknown) │ 2026-11-17 00:00 │ 2026-11-18 00:00 │ 1,440 │ 1 │" in table
    assert "about 2 requests for 2,880 bars, 0:00:00 at the present pace" in table


# --- Gaps -----------------------------------------------------------------------------------------------------------


def test_gaps_alone_are_filled(known: None, provider: IDataProvider, source: SimulatorServer, bars: BarStore) -> None:
    for start in (DAY - 2 * DAY_MS, DAY):
        job = BackfillJob(symbol=SHARE, interval="1m", start_at=from_ms(start), end_at=from_ms(start + DAY_MS))
        start_here(job)
        engine.run(job, provider, bars, now_ms=NOW_MS)
    (row,) = series_of("--all", "--gaps")
    whole = source.market.bars(SHARE, MINUTE, DAY - DAY_MS, DAY)
    assert (row["symbol"], row["interval"], row["state"], row["received"], row["new"]) == (
        SHARE,
        "1m",
        "done",
        390,
        390,
    )
    assert bars.read(stored(bars, SHARE)[0], DAY - DAY_MS, DAY).same_as(whole)
    assert backfill("--all", "--gaps") == "nothing is missing\n"


# --- Verification ---------------------------------------------------------------------------------------------------


def test_verify_finds_what_differs_and_writes_nothing(
    known: None, source: SimulatorServer, bars: BarStore, settings: Any
) -> None:
    backfill(SHARE, COIN, "--bars", "12000")
    assert "12,000 │       0 │     0 │         0 │" in backfill(SHARE, "--bars", "12000", "--verify")
    series, true = stored(bars, SHARE)
    spoilt = [list(row) for row in zip(*(column[[5, 3000]].tolist() for column in true.columns), strict=True)]
    spoilt[0][4] += 0.01
    spoilt[1][0] -= 60_000 * 60 * 6  # in the night
    bars.write(series, Bars.from_rows(spoilt))
    newest = Database().collection("bar_chunk").find_one_and_delete({"series": series.id}, sort=[("_id", -1)])
    lost = true.between(newest["start_ms"], None)
    before = everything()
    error, (share, coin) = failing(SHARE, COIN, "--bars", "12000", "--verify")
    assert everything() == before
    assert (error.returncode, str(error)) == (3, "1 of 2 series differ from the source.")
    counts = {name: share[name] for name in ("bars", "missing", "extra", "differing", "error")}
    assert counts == {"bars": 12_000, "missing": len(lost), "extra": 1, "differing": 1, "error": None}
    assert [one["kind"] for one in share["differences"]] == ["missing"] * 20
    assert share["differences"][0]["source"] == [float(column[-1]) for column in true.columns[1:]]
    assert coin == {
        "symbol": COIN, "interval": "1m", "bars": 12_000, "missing": 0, "extra": 0, "differing": 0,
        "differences": [], "error": None,
    }  # fmt: skip


def test_verify_lists_each_difference_with_both_values(known: None, source: SimulatorServer, bars: BarStore) -> None:
    backfill(SHARE, "--from", "2026-11-17", "--to", "2026-11-17")
    series, true = stored(bars, SHARE)
    rows = [list(row) for row in zip(*(column[[5]].tolist() for column in true.columns), strict=True)]
    changed, extra = [*rows[0][:4], rows[0][4] + 1.0, rows[0][5]], [rows[0][0] - 3 * 3_600_000, *rows[0][1:]]
    bars.write(series, Bars.from_rows([changed, extra]))
    _, (found,) = failing(SHARE, "--from", "2026-11-17", "--to", "2026-11-17", "--verify")
    assert found["differences"] == [
        {"kind": "differing", "time": "2026-11-17T14:35:00Z", "stored": changed[1:], "source": rows[0][1:]},
        {"kind": "extra", "time": "2026-11-17T11:35:00Z", "stored": extra[1:], "source": None},
    ]


def test_nothing_stored_is_all_missing(known: None, bars: BarStore) -> None:
    _, (found,) = failing(COIN, "--interval", "1h", "--bars", "30", "--verify")
    assert (found["bars"], found["missing"], found["extra"]) == (30, 30, 0)
    assert not bars.all_series()


# --- Force ----------------------------------------------------------------------------------------------------------


def test_force_asks_for_what_is_there_and_corrects_it(known: None, source: SimulatorServer, bars: BarStore) -> None:
    backfill(COIN, "--bars", "12000")
    series, true = stored(bars, COIN)
    wrong = [list(row) for row in zip(*(column[[100]].tolist() for column in true.columns), strict=True)]
    wrong[0][5] += 1
    bars.write(series, Bars.from_rows(wrong))
    covered = CoverageStore(Database()).of(series)
    before = requests()
    (row,) = series_of(COIN, "--from", "2026-11-12", "--to", "2026-11-18", "--force")
    assert (row["received"], row["new"], row["corrected"]) == (7 * 1440, 0, 0)  # it lies before them
    (row,) = series_of(COIN, "--bars", "12000", "--force")
    assert (row["received"], row["new"], row["corrected"]) == (12_000, 0, 1)
    assert requests() - before == 2 + (3 + 3)
    assert stored(bars, COIN)[1].same_as(true)
    assert CoverageStore(Database()).of(series).ranges == covered.ranges


# --- Many -----------------------------------------------------------------------------------------------------------


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
