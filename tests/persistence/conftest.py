"""Fixtures: the test database without Django's flush (these stores are no models), a series in it, and a Redis of one's
own that a test may kill or empty."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from infrastructure.embedded import binaries
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Cache, Database, Series
from tests.servers import free_port

COLLECTIONS = ("bar_chunk", "bar_series", "lease", "quote", "probe")


class RedisServer:
    """A throw-away redis-server on one port, which it keeps when it is started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [str(binaries.redis_server()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.01)
        raise RuntimeError("redis-server did not answer")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def cache(redis_server: RedisServer) -> Cache:
    return Cache(redis_server.url, timeout_s=5)


@pytest.fixture
def database(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[Database]:
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        database = Database()
        empty(database)
        yield database
        empty(database)


def empty(database: Database) -> None:
    """Before, for what a killed process left; after, for the tests that come next."""
    for name in COLLECTIONS:
        database.collection(name).delete_many({})


def iter_random(seed: int = 1) -> Callable[[], float]:
    return np.random.default_rng(seed).random


@pytest.fixture
def store(database: Database) -> BarStore:
    return BarStore(database, random=iter_random())


@pytest.fixture
def series(store: BarStore) -> Series:
    return store.series("BINANCE:BTCUSDT", INTERVALS["1m"], bars_per_week=10_080)
