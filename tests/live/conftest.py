"""A Redis of the test's own (it may be emptied, killed, started again), a database of three symbols, live settings."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from infrastructure.persistence import BarStore, Database
from infrastructure.persistence.live import LiveCache
from marketdata.live import process
from marketdata.models import Symbol
from marketdata.services import attempts
from tests.live.sending import Client
from tests.live.speaker import Speaker
from tests.persistence.conftest import RedisServer

SYMBOLS = ("NASDAQ:AAPL", "BINANCE:BTCUSDT", "TEST:TICK")
COLLECTIONS = (
    "bar_chunk",
    "bar_series",
    "lease",
    "quote",
    "symbol",
    "upstream_switch",
    "auth_user",
    "api_key",
    "ended_session",
)


@pytest.fixture
def redis_server(tmp_path: Path, settings: Settings) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    settings.REDIS_URL = server.url.rpartition("/")[0]
    settings.REDIS_DB = 0
    yield server
    server.kill()


@pytest.fixture
def database(django_db_setup: None, django_db_blocker: Any) -> Iterator[Database]:
    """Without Django's transaction and flush: the stores are no models, and threads write too."""
    with django_db_blocker.unblock():
        database = Database()
        empty(database)
        Symbol.objects.bulk_create(Symbol(key=key) for key in SYMBOLS)
        yield database
        empty(database)


def empty(database: Database) -> None:
    """Before, for what a killed process left; after, for the tests that come next."""
    for name in COLLECTIONS:
        database.collection(name).delete_many({})


@pytest.fixture
def cache(redis_server: RedisServer) -> LiveCache:
    return LiveCache(redis_server.url)


@pytest.fixture
def stores(database: Database) -> None:
    BarStore(database).ensure()


@pytest.fixture
def speaker(cache: LiveCache) -> Speaker:
    """Publishes as a feed does."""
    return Speaker(cache)


@pytest.fixture
async def live(redis_server: RedisServer, database: Database, settings: Settings) -> AsyncIterator[None]:
    """What a consumer needs; closed with the loop it was opened in."""
    settings.LIVE_FLUSH_MS = 20
    settings.ANONYMOUS_VIEWING = True
    settings.MARKETDATA_SOURCE = "simulator"
    attempts.of_this_process.clear()
    yield
    await process.close()


@pytest.fixture
async def client() -> Client:
    return Client()
