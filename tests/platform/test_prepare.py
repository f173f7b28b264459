import re
from io import StringIO

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Group, User
from django.core.management import call_command

from infrastructure.persistence import BarStore, Database
from infrastructure.scheduling import JobScheduler
from infrastructure.simulator import SimulatorServer
from marketdata.models import BackfillJob, Symbol
from marketdata.services import watchlist
from tests.platform.commands import manage
from tests.servers import free_port


def prepare() -> list[str]:
    out = StringIO()
    call_command("prepare", stdout=out)
    return out.getvalue().splitlines()


@pytest.fixture
def first(source: SimulatorServer, empty: None) -> list[str]:
    return prepare()


def state() -> dict[str, object]:
    jobs = Database().collection("jobs_backfills")
    return {
        "users": [(user.username, user.password) for user in User.objects.order_by("username")],
        "symbols": list(Symbol.objects.order_by("key").values()),
        "jobs": list(BackfillJob.objects.order_by("pk").values()),
        "queued": sorted(document["_id"] for document in jobs.find({}, {"_id": True})),
        "schedules": [(one.name, one.func, one.cron, one.enabled) for one in JobScheduler().schedules()],
    }


def test_the_printed_password_opens_the_admin_account(first: list[str]) -> None:
    (line,) = (line for line in first if "password" in line)
    found = re.search(r"user (\S+), password (\S{16})", line)
    assert found
    user = User.objects.get(username=found[1])
    assert (user.username, user.is_superuser, user.is_staff) == ("admin", True, True)
    assert user.check_password(found[2])


def test_a_second_run_changes_nothing_and_prints_no_password(first: list[str]) -> None:
    before = state()
    assert prepare() == ["prepared: collections, indexes and schedules are in place"]
    assert state() == before


def test_samples_are_known_in_the_order_of_the_watch_list(first: list[str]) -> None:
    rows = Symbol.objects.order_by("position")
    assert tuple(row.key for row in rows) == watchlist.SAMPLES
    assert {(tuple(row.collect_intervals), tuple(row.stream_intervals), row.active, row.error) for row in rows} == {
        (("1m", "5m", "1h", "1d"), ("1m",), True, "")
    }
    apple = Symbol.objects.get(pk="NASDAQ:AAPL")
    assert (apple.full_name, apple.venue, apple.currency, apple.session, apple.delay_s) == (
        "BATS:AAPL", "Cboe One", "USD", "0930-1600", 0,
    )  # fmt: skip
    assert Symbol.objects.get(pk="LSE:VOD").delay_s == 900


def test_the_newest_bars_of_every_sample_and_interval_are_queued_once(first: list[str]) -> None:
    wanted = {(key, name, 1500, "queued") for key in watchlist.SAMPLES for name in ("1m", "5m", "1h", "1d")}
    jobs = BackfillJob.objects.all()
    assert {(job.symbol, job.interval, job.bars, job.state) for job in jobs} == wanted
    assert JobScheduler().queue_sizes()["backfills"].waiting == len(jobs) == len(wanted)


def test_schedules_cover_each_interval_quotes_symbols_and_stalled_jobs(first: list[str]) -> None:
    assert {one.name: (one.func, one.cron, one.queue) for one in JobScheduler().schedules()} == {
        "pull 1m": ("marketdata.tasks.pull_bars", "* * * * * 4", "pulls"),
        "pull 5m": ("marketdata.tasks.pull_bars", "*/5 * * * * 11", "pulls"),
        "pull 1h": ("marketdata.tasks.pull_bars", "*/15 * * * * 18", "pulls"),
        "pull 1d": ("marketdata.tasks.pull_bars", "*/15 * * * * 25", "pulls"),
        "refresh quotes": ("marketdata.tasks.refresh_quotes", "* * * * * 40", "pulls"),
        "refresh symbols": ("marketdata.tasks.refresh_symbols", "*/10 * * * * 50", "pulls"),
        "tend backfills": ("marketdata.tasks.tend_backfills", "* * * * * 55", "pulls"),
        "check bars": ("marketdata.tasks.check_bars", "47 3 * * * 30", "pulls"),
        "trim bars": ("marketdata.tasks.trim_bars", "17 3 * * * 30", "pulls"),
    }


def test_what_an_operator_deleted_does_not_come_back(first: list[str]) -> None:
    Symbol.objects.filter(pk="TEST:TICK").delete()
    JobScheduler().unschedule("pull 5m")
    JobScheduler().schedule("pull 1m", "marketdata.tasks.pull_bars", cron="*/2 * * * *", args=("1m",))
    prepare()
    assert not Symbol.objects.filter(pk="TEST:TICK").exists()
    crons = {one.name: one.cron for one in JobScheduler().schedules()}
    assert (crons["pull 1m"], "pull 5m" in crons) == ("*/2 * * * *", False)


def test_a_source_that_is_away_leaves_the_information_to_the_schedule(settings: LazySettings, empty: None) -> None:
    settings.TRADINGVIEW = {**settings.TRADINGVIEW, "websocket_url": f"ws://127.0.0.1:{free_port()}/"}
    lines = prepare()
    assert any(line.startswith("sample symbols have no information yet") for line in lines)
    assert {(row.refreshed_at, row.session) for row in Symbol.objects.all()} == {(None, "")}


def test_the_real_source_gets_no_samples_no_backfills_and_few_requests(settings: LazySettings, empty: None) -> None:
    settings.MARKETDATA_SOURCE = "tradingview"
    prepare()
    assert (Symbol.objects.count(), BackfillJob.objects.count()) == (0, 0)
    crons = {one.name: one.cron for one in JobScheduler().schedules()}
    assert crons["pull 1m"] == "*/5 * * * * 4"


def test_bar_collections_compress_with_zstd(first: list[str]) -> None:
    for name in ("bar_chunk", "bar_series"):
        options = Database().collection(name).options()
        assert "block_compressor=zstd" in options["storageEngine"]["wiredTiger"]["configString"]
    assert BarStore(Database()).all_series() == []


def test_groups_hold_what_they_need_and_no_more(db: None) -> None:
    held = {
        group.name: {permission.codename for permission in group.permissions.all()} for group in Group.objects.all()
    }
    viewer = {
        f"view_{name}"
        for name in ("symbol", "quote", "barseries", "barchunk", "backfilljob", "pull", "upstreamswitch", "finding")
    }
    assert held == {
        "viewer": viewer,
        "operator": viewer
        | {"add_symbol", "change_symbol", "add_backfilljob", "change_backfilljob", "change_upstreamswitch"}
        | {"delete_finding", "view_schedule", "change_schedule", "view_success", "view_failure"},
    }


def test_an_unreachable_store_is_one_sentence() -> None:
    ended = manage("prepare", MONGODB_URI=f"mongodb://127.0.0.1:{free_port()}/", MONGODB_TIMEOUT_S="0.3")
    assert (ended.code, ended.out) == (1, "")
    assert re.search(r"MongoDB does not answer: .*refused", ended.sentence)
