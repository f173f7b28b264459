"""Fixtures of the platform's tests: a simulator whose clock stands still, the project's settings pointing at it, and
collections that Django's flush does not know, emptied."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.contrib.auth.models import Group, User
from django.test import Client

from infrastructure.persistence import BarStore, Database
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import IDataProvider
from marketdata.models import Symbol
from marketdata.providers import get_provider
from marketdata.services import symbols, upstream

#: A Thursday, 18:00:30 UTC: New York and the coins trade, Korea does not; half a minute into every minute.
NOW_MS = 1_795_111_230_000
OWN_COLLECTIONS = ("bar_chunk", "bar_series", "setup", "jobs_pulls", "jobs_backfills")


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


def add_symbol(provider: IDataProvider, key: str, *collect: str, active: bool = True) -> Symbol:
    return symbols.add(provider.resolve(key), active=active, collect_intervals=list(collect))
