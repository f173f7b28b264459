"""Fixtures of the platform's tests: a simulator whose clock stands still, the project's settings pointing at it, and
collections that Django's flush does not know, emptied."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.apps import apps
from django.conf import LazySettings
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, QuoteStore
from infrastructure.scheduling import JobScheduler
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.times import to_ms
from infrastructure.tradingview import IDataProvider
from infrastructure.tradingview.base import Quote
from marketdata.models import BackfillJob, Pull, Symbol
from marketdata.providers import get_provider
from marketdata.services import schedules, symbols, upstream

#: A Thursday, 18:00:30 UTC: New York and the coins trade, Korea does not; half a minute into every minute.
NOW_MS = 1_795_111_230_000
COIN, SHARE = "BINANCE:BTCUSDT", "NASDAQ:AAPL"
MINUTE = INTERVALS["1m"]
OWN_COLLECTIONS = (
    "bar_chunk", "bar_series", "bar_coverage", "setup", "jobs_pulls", "jobs_backfills", "removed_symbol",
)  # fmt: skip


@pytest.fixture(scope="module")
def frozen() -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=1, clock=StandingClock(NOW_MS)) as server:
        yield server


@pytest.fixture
def source(frozen: SimulatorServer, settings: LazySettings) -> Iterator[SimulatorServer]:
    """The simulator at NOW_MS, as the configured source."""
    settings.TRADINGVIEW = {
        **settings.TRADINGVIEW,
        "websocket_url": frozen.websocket_url,
        "search_url": frozen.http_url,
        "scanner_url": frozen.http_url,
        "timeout_s": 5.0,
        "pause_s": 0.0,
    }
    assert isinstance(frozen.clock, StandingClock)
    frozen.clock.at_ms = NOW_MS
    yield frozen
    frozen.faults.clear()


@pytest.fixture
def empty(db: None, settings: LazySettings) -> Iterator[None]:
    """A database as a first start finds it."""
    database = Database()
    for name in OWN_COLLECTIONS:
        database.collection(name).delete_many({})
    with redis.Redis.from_url(f"{settings.REDIS_URL}/{settings.REDIS_DB}") as client:
        client.flushdb()
    upstream.gate.forget()
    yield
    upstream.gate.forget()


@pytest.fixture
def bars(empty: None) -> BarStore:
    store = BarStore(Database())
    store.ensure()
    return store


@pytest.fixture
def provider(source: SimulatorServer, empty: None) -> Iterator[IDataProvider]:
    with get_provider() as provider:
        yield provider


@pytest.fixture
def client_of(empty: None) -> Any:
    """A browser of a new staff user, logged in: client_of("viewer"), client_of("superuser"), client_of("")."""

    def make(group: str) -> Client:
        user = User.objects.create_user(f"a-{group or 'nobody'}", password="x", is_staff=True)
        if group == "superuser":
            user.is_superuser = True
            user.save()
        elif group:
            user.groups.add(Group.objects.get(name=group))
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def furnished(bars: BarStore) -> str:
    """One of everything that a page can show; gives the id of the series."""
    JobScheduler().ensure()
    schedules.install(set())
    now_ms = to_ms(timezone.now())
    Symbol.objects.create(key=COIN, description="Bitcoin", full_name=COIN, session="24x7", timezone="Etc/UTC",
                          collect_intervals=["1m", "1d"], refreshed_at=timezone.now(), has_intraday=True)  # fmt: skip
    Symbol.objects.create(key=SHARE, active=False, error="The source <b>says</b> no.")
    QuoteStore(Database()).save([(Quote(COIN, last=5.0, session="market"), now_ms)])
    series = bars.series(COIN, MINUTE, bars_per_week=10_080)
    last = now_ms - now_ms % 60_000 - 120_000
    bars.write(series, Bars.from_rows([(last - i * 60_000, 1.5, 2.5, 0.5, 1.25, 0.1) for i in range(30, -1, -1)]))
    Pull.objects.create(key=f"{COIN}@1m", symbol=COIN, interval="1m", reached_ms=last, error="Too <i>slow</i>.")
    BackfillJob.objects.create(symbol=COIN, interval="1m", bars=100, received=40, state="running")
    task = {"func": "marketdata.tasks.pull_bars", "started": timezone.now(), "stopped": timezone.now(), "args": ("1m",)}
    tasks = apps.get_model("django_q", "Task").objects
    tasks.create(id="a" * 32, name="good", group="pull 1m", success=True, result="Pulled(asked=1)", **task)
    tasks.create(id="b" * 32, name="bad", group="pull 1m", success=False, result="no : Traceback (…", **task)
    return series.id


def add_symbol(provider: IDataProvider, key: str, *collect: str, active: bool = True) -> Symbol:
    return symbols.add(provider.resolve(key), active=active, collect_intervals=list(collect))
