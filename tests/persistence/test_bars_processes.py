"""Several processes on one series, and a killed one of each kind: writer, mongod."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pymongo
import pytest
from django.db import connections

from infrastructure.bars import Bars
from infrastructure.embedded import binaries
from infrastructure.errors import Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, CoverageStore, Database
from tests.persistence import rival
from tests.persistence.bits import same_bits
from tests.persistence.minutes import minutes
from tests.servers import free_port

T = TypeVar("T")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def start_rival(seed: int, rounds: int, database: Database) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.persistence.rival", str(seed), str(rounds)],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "MONGODB_NAME": database.collection("bar_chunk").database.name,
        },
    )


@pytest.mark.parametrize("switches", [0, 4])
def test_four_processes_lose_nothing_while_one_is_killed(database: Database, switches: int) -> None:
    """While revisions are switched too, what was acknowledged may be in a replaced one; nothing else changes."""
    acknowledged, heard = np.zeros(rival.BARS, np.bool_), itertools.count()
    latest = [0]
    database.collection("bar_coverage").delete_many({})

    def listen(process: subprocess.Popen[str], until: int | None) -> None:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout):
            _, start, n = line.split()
            acknowledged[int(start) : int(start) + int(n)] = True
            latest[0] = next(heard)
            if number == until:
                process.kill()

    processes = [start_rival(seed, 60 + 40 * switches, database) for seed in range(4)]
    listeners = [
        threading.Thread(target=listen, args=(process, 10 if index == 0 else None))
        for index, process in enumerate(processes)
    ]
    for thread in listeners:
        thread.start()
    store, expected = BarStore(database), rival.all_bars()
    for _ in range(switches):
        assert replaced(store, expected, lambda: latest[0])
    for thread in listeners:
        thread.join(250)
    assert [process.wait(10) for process in processes] == [-9, 0, 0, 0]

    series = store.find(rival.SYMBOL, INTERVALS["1m"])
    assert series is not None
    assert series.revision == 1 + switches
    found = store.read(series)
    index = (found.time_ms - rival.START) // rival.MINUTE
    assert (np.diff(index) > 0).all()
    assert same_bits(found, expected[index])
    assert switches or set(np.flatnonzero(acknowledged)) <= set(index.tolist())
    covered = CoverageStore(database).of(series).ranges
    assert covered
    for low, high in covered:
        assert same_bits(store.read(series, low, high), expected.between(low, high))
    assert store.count(series) == len(found)
    store.write(series, expected)  # what the killed one left open is closed by the next writer
    assert same_bits(store.read(series), expected)


def replaced(store: BarStore, expected: Bars, progress: Callable[[], int]) -> bool:
    """A new revision with every other bar, once the others have gone on; no reader sees less than it held."""
    begun, deadline = progress(), time.monotonic() + 60
    while progress() - begun < 8 or (series := store.find(rival.SYMBOL, INTERVALS["1m"])) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    half = expected[::2]
    draft = store.revisions.begin(series)
    store.write(draft, half)
    index = (store.read(store.revisions.switch(draft)).time_ms - rival.START) // rival.MINUTE
    return bool(np.isin(np.arange(0, rival.BARS, 2), index).all())


class MongoServer:
    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                str(binaries.mongod()), "--dbpath", str(self._folder), "--port", str(self.port), "--bind_ip",
                "127.0.0.1", "--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25", "--nounixsocket", "--quiet",
            ],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip

    def initiate(self) -> None:
        with pymongo.MongoClient(port=self.port, directConnection=True, serverSelectionTimeoutMS=30_000) as client:
            member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def mongo(tmp_path: Path) -> Iterator[MongoServer]:
    server = MongoServer(tmp_path)
    server.start()
    server.initiate()
    alias = {
        **connections.settings["default"],
        "NAME": "restarted",
        "HOST": f"mongodb://127.0.0.1:{server.port}/?replicaSet=rs0",
        "OPTIONS": {"serverSelectionTimeoutMS": 300, "connectTimeoutMS": 300},
    }
    connections.settings["restarted"] = alias
    yield server
    connections["restarted"].close_pool()
    del connections["restarted"], connections.settings["restarted"]
    server.kill()


def sooner_or_later(step: Callable[[], T]) -> T:
    deadline = time.monotonic() + 60
    while True:
        try:
            return step()
        except Unavailable:
            assert time.monotonic() < deadline


def test_acknowledged_bars_survive_a_killed_mongod_and_the_store_goes_on(mongo: MongoServer) -> None:
    store = BarStore(Database("restarted"))

    bars = minutes(12_000)
    series = sooner_or_later(lambda: store.series("A:A", INTERVALS["1m"], bars_per_week=10_080))
    sooner_or_later(lambda: store.write(series, bars[:11_000]))
    for bar in bars[11_000:11_020]:
        store.push([(series, bar)])
    mongo.kill()
    with pytest.raises(Unavailable, match="MongoDB does not answer"):
        store.write(series, bars)
    mongo.start()
    found = sooner_or_later(lambda: store.read(series))
    assert same_bits(found, bars[:11_020])
    sooner_or_later(lambda: store.write(series, bars))
    assert same_bits(store.read(series), bars)
