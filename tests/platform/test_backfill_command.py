import contextlib
import os
import pty
import re
import signal
import subprocess
import threading
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from infrastructure.backoff import Backoff
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database
from infrastructure.simulator import SimulatorServer
from infrastructure.times import to_ms
from infrastructure.tradingview import IDataProvider
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill_here, upstream
from tests.platform.commands import command, environment, manage
from tests.platform.conftest import NOW_MS, add_symbol
from tests.portal import Portal
from tests.servers import free_port

MINUTE = INTERVALS["1m"]
COIN = "BINANCE:BTCUSDT"


def backfill(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("backfill", *arguments, stdout=out, **options)
    return out.getvalue()


def nothing_written() -> bool:
    collections = ("bar_chunk", "bar_series", "backfill_job", "symbol")
    return not any(Database().collection(name).estimated_document_count() for name in collections)


def test_forty_thousand_bars_equal_the_model_and_a_second_run_writes_nothing(
    source: SimulatorServer, bars: BarStore
) -> None:
    first = backfill("NASDAQ:AAPL", COIN, "--interval", "1m", "--bars", "20000")
    for key in ("NASDAQ:AAPL", COIN):
        series = bars.find(key, MINUTE)
        assert series is not None
        assert bars.read(series).same_as(source.market.last(key, MINUTE, 20_000, NOW_MS - NOW_MS % 60_000))
        assert re.search(rf"{key} 1m +│ done +│ +20,000 │ +20,000 │ +0 │ +\d", first)
    chunks = list(Database().collection("bar_chunk").find())
    again = backfill("NASDAQ:AAPL", COIN, "--interval", "1m", "--bars", "20000")
    assert list(Database().collection("bar_chunk").find()) == chunks
    for key in ("NASDAQ:AAPL", COIN):
        assert re.search(rf"{key} 1m +│ done +│ +0 │ +0 │ +0 │ +0 ", again)


def test_a_day_of_several_intervals_holds_that_day_alone(source: SimulatorServer, bars: BarStore) -> None:
    backfill("NYSE:KO", "--interval", "5m", "--interval", "1h", "--from", "2026-11-17", "--to", "2026-11-17")
    day = to_ms(datetime(2026, 11, 17, tzinfo=UTC))
    for name in ("5m", "1h"):
        series = bars.find("NYSE:KO", INTERVALS[name])
        assert series is not None
        assert bars.read(series).same_as(source.market.bars("NYSE:KO", INTERVALS[name], day, day + 86_400_000))
    assert {(job.interval, job.state, job.error) for job in BackfillJob.objects.all()} == {
        ("5m", "done", ""),
        ("1h", "done", ""),
    }


def test_each_page_is_said_where_there_is_no_terminal(source: SimulatorServer, bars: BarStore) -> None:
    lines = backfill(COIN, "--bars", "12000").splitlines()
    pages = [line for line in lines if line.startswith(COIN)]
    for line, (count, when) in zip(
        pages,
        (
            ("4,999", "2026-11-16 06:41"),  # the newest of the page is forming
            ("9,999", "2026-11-12 19:21"),
            ("12,000", "2026-11-11 10:00"),
        ),
        strict=True,
    ):
        said = rf"{COIN} 1m: {count} of 12,000 bars, back to {when} UTC, [\d,]+ bars/s, 0:00:\d\d left"
        assert re.fullmatch(said, line)


def test_a_terminal_gets_a_bar_and_the_summary(source: SimulatorServer, bars: BarStore) -> None:
    ours, theirs = pty.openpty()
    variables = environment(source, TERM="xterm", COLUMNS="140", LINES="40")
    with subprocess.Popen(command("backfill", COIN, "--bars", "12000"), env=variables, stdout=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
            while part := os.read(ours, 65_536):
                shown += part
    os.close(ours)
    assert process.returncode == 0
    assert re.search(r"BINANCE:BTCUSDT 1m +.*━.* \d+%.*of 12,000 bars, back to 2026-11-", shown.decode())
    assert re.search(r"done +│ +12,000 │ +12,000 │ +0 │", shown.decode())


def test_an_unknown_symbol_of_the_source_is_added_without_being_active(source: SimulatorServer, bars: BarStore) -> None:
    backfill("nasdaq:meta", "--interval", "1d", "--bars", "5")
    (row,) = Symbol.objects.all()
    assert (row.key, row.active, row.description, row.aliases) == (
        "NASDAQ:META", False, "Meta Platforms, Inc.", ["NASDAQ:FB"],
    )  # fmt: skip


WRONG = [
    (("NASDAQ:NOPE", "--bars", "5"), "NASDAQ:NOPE"),
    ((COIN, "NASDAQ:NOPE", "--bars", "5"), "NASDAQ:NOPE"),
    (("APPLE", "--bars", "5"), "'APPLE' is not of the form EXCHANGE:TICKER, as in NASDAQ:AAPL."),
    (("--bars", "5"), "Name at least one symbol, as in NASDAQ:AAPL."),
    ((COIN, "--interval", "7m", "--bars", "5"), "There is no interval '7m'; choose one of 1m, 3m"),
    (("TEST:DAILY", "--interval", "1m", "--bars", "5"), "TEST:DAILY has no 1m bars: its source offers none below one"),
    ((COIN,), "Say how much: a number of bars, or the time to begin from."),
    ((COIN, "--to", "2026-01-01"), "Say how much: a number of bars, or the time to begin from."),
    ((COIN, "--bars", "5", "--from", "2026-01-01"), "A number of bars counts back from now"),
    ((COIN, "--bars", "0"), "The number of bars must be between 1 and 10,000,000, not 0."),
    (
        (COIN, "--from", "2026-02-01", "--to", "2026-01-01"),
        "The beginning, 2026-02-01 00:00 UTC, is not before the end, 2026-01-02 00:00 UTC.",
    ),
    ((COIN, "--from", "2999-01-01"), "The beginning, 2999-01-01 00:00 UTC, is not before now."),
    (
        (COIN, "--from", "yesterday"),
        "--from takes a date or time as in 2026-01-31 or 2026-01-31T09:30, not 'yesterday'.",
    ),
    (("--resume", "0" * 24), f"There is no backfill job '{'0' * 24}'."),
    (("--resume", "first"), "There is no backfill job 'first'."),
    ((COIN, "--resume", "0" * 24), "--resume takes everything from the jobs, so it goes with nothing else."),
]


def test_what_cannot_be_done_is_said_in_a_sentence_and_nothing_is_written(
    source: SimulatorServer, bars: BarStore, subtests: pytest.Subtests
) -> None:
    for arguments, sentence in WRONG:
        with subtests.test(" ".join(arguments)):
            with pytest.raises(CommandError) as failed:
                backfill(*arguments)
            assert sentence in str(failed.value)
            assert "\n" not in str(failed.value)
            assert nothing_written()


def test_a_wrong_command_ends_with_one_line_and_a_code(source: SimulatorServer, bars: BarStore) -> None:
    ended = manage("backfill", "NASDAQ:NOPE", "--bars", "5", source=source)
    assert ended.code == 1
    assert "NASDAQ:NOPE" in ended.sentence
    assert ended.out == ""


def test_an_unreachable_store_is_said_in_a_sentence(source: SimulatorServer) -> None:
    dead = f"mongodb://127.0.0.1:{free_port()}/"
    ended = manage("backfill", COIN, "--bars", "5", source=source, MONGODB_URI=dead, MONGODB_TIMEOUT_S="0.3")
    assert ended.code == 1
    assert re.search(r"MongoDB does not answer: .*refused", ended.sentence)


def test_a_lost_redis_does_not_stop_a_backfill(source: SimulatorServer, bars: BarStore) -> None:
    dead = f"redis://127.0.0.1:{free_port()}"
    ended = manage("backfill", COIN, "--bars", "5", source=source, REDIS_URL=dead)
    assert ended.code == 0
    series = bars.find(COIN, MINUTE)
    assert series is not None
    assert bars.count(series) == 5


def test_an_unreachable_source_is_said_in_a_sentence(bars: BarStore, settings: Any) -> None:
    settings.TRADINGVIEW = {**settings.TRADINGVIEW, "websocket_url": f"ws://127.0.0.1:{free_port()}/"}
    with pytest.raises(CommandError, match=r"refused"):
        backfill(COIN, "--bars", "5")
    assert nothing_written()


FAULTS = {
    "heartbeats_only": f"TradingView said nothing of {COIN} for 0.5 s.",
    "silence": f"TradingView said nothing of {COIN} for 0.5 s.",
    "handshake_403": "127.0.0.1 answered 403: it refuses the TRADINGVIEW_ORIGIN, or this machine's address.",
    "handshake_429": "127.0.0.1 answered 429.",
    "malformed_json": "TradingView sent what is no JSON",
}


def test_a_source_that_misbehaves_is_said_in_a_sentence_and_nothing_is_written(
    source: SimulatorServer, bars: BarStore, settings: Any, subtests: pytest.Subtests
) -> None:
    settings.TRADINGVIEW = {**settings.TRADINGVIEW, "timeout_s": 0.5}
    for fault, sentence in FAULTS.items():
        source.faults.clear()
        source.faults.set(fault)
        with subtests.test(fault):
            with pytest.raises(CommandError) as failed:
                backfill(COIN, "--bars", "5")
            assert str(failed.value).startswith(sentence)
            assert "\n" not in str(failed.value)
            assert nothing_written()


def test_a_page_instead_of_data_is_said_in_a_sentence(bars: BarStore, settings: Any) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Portal) as portal:
        threading.Thread(target=portal.serve_forever, daemon=True).start()
        settings.TRADINGVIEW = {**settings.TRADINGVIEW, "websocket_url": f"ws://127.0.0.1:{portal.server_port}/"}
        with pytest.raises(CommandError) as failed:
            backfill(COIN, "--bars", "5")
        portal.shutdown()
    assert str(failed.value) == "127.0.0.1 answered 200 with a page instead of a websocket."
    assert nothing_written()


def test_a_token_that_the_source_refuses_is_said_without_showing_it(
    source: SimulatorServer, bars: BarStore, settings: Any
) -> None:
    settings.TRADINGVIEW = {**settings.TRADINGVIEW, "auth_token": "not-a-real-token"}
    with pytest.raises(CommandError) as failed:
        backfill(COIN, "--bars", "5")
    assert "token" in str(failed.value).lower()
    assert "not-a-real-token" not in str(failed.value)
    assert nothing_written()


def test_nothing_is_asked_for_while_upstream_is_off(source: SimulatorServer, bars: BarStore) -> None:
    upstream.turn(False, "ann", "quiet please")
    with pytest.raises(CommandError, match=r"Upstream traffic is off: ann switched it off \(quiet please\)\."):
        backfill(COIN, "--bars", "5")
    assert source.connections == 0
    assert nothing_written()


def test_cuts_without_end_leave_a_job_that_goes_on_where_it_stopped(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_symbol(provider, COIN)
    monkeypatch.setattr(backfill_here, "REST", Backoff(0, 1, 0, 0))
    source.faults.set("close_mid_batch", times=backfill_here.TRIES)
    with pytest.raises(CommandError, match=r"Go on with: manage\.py backfill --resume [0-9a-f]{24}$") as failed:
        backfill(COIN, "--bars", "12000")
    (job,) = BackfillJob.objects.all()
    assert (job.state, job.error != "") == ("paused", True)
    backfill("--resume", str(failed.value).split()[-1])
    (job,) = BackfillJob.objects.all()
    assert (job.state, job.received, job.error) == ("done", 12_000, "")
    series = bars.find(COIN, MINUTE)
    assert series is not None
    assert bars.read(series).same_as(source.market.last(COIN, MINUTE, 12_000, NOW_MS - NOW_MS % 60_000))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_leaves_a_job_that_can_be_resumed(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore, stop: signal.Signals
) -> None:
    add_symbol(provider, COIN)
    arguments = command("backfill", COIN, "--bars", "40000")
    variables = environment(source, TRADINGVIEW_PAUSE_S="30")  # it will not get beyond the first page
    with subprocess.Popen(
        arguments, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "4,999 of 40,000" in process.stdout.readline()
        process.send_signal(stop)
        _out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    (job,) = BackfillJob.objects.all()
    assert (job.state, job.received, job.error) == ("paused", 4999, "Interrupted.")
    assert f"Go on with: manage.py backfill --resume {job.pk}" in err
