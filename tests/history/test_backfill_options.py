"""What `manage.py backfill` can be asked for, against the simulator: symbols, plans, gaps."""

import json
import re
from typing import Any

import pytest
from django.core.management import CommandError

from infrastructure.intervals import DAY_MS, INTERVALS
from infrastructure.persistence import BarStore, Database
from infrastructure.simulator import SimulatorServer
from infrastructure.times import from_ms
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.budget import RequestBudget
from marketdata.models import BackfillJob
from marketdata.services import backfill as engine
from marketdata.services import forecast
from tests.history.backfilling import COIN, ETHER, SHARE, YOUNG, backfill, everything, requests, series_of, stored
from tests.history.jobs import start_here
from tests.platform.conftest import NOW_MS

MINUTE = INTERVALS["1m"]
DAY = NOW_MS - NOW_MS % DAY_MS


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
