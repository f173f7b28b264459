"""What reads cost: round trips to MongoDB, and memory whatever the length of a history."""

import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from django.db import connections
from pymongo.monitoring import CommandListener, CommandStartedEvent

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, Series
from infrastructure.persistence.bar_documents import WEEK_MS
from tests.persistence.bits import same_bits
from tests.persistence.minutes import START, minutes

WEEK = WEEK_MS // 60_000  # minutes, a chunk


class Commands(CommandListener):
    """The names of the commands sent, in order."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.sent.append(event.command_name)

    def succeeded(self, event: object) -> None:
        pass

    def failed(self, event: object) -> None:
        pass


@pytest.fixture
def commands(database: Database) -> Iterator[Commands]:
    """Of a client of its own, on the same database."""
    listener = Commands()
    default = connections["default"].settings_dict
    connections.settings["watched"] = {**default, "OPTIONS": {**default["OPTIONS"], "event_listeners": [listener]}}
    yield listener
    connections["watched"].close_pool()
    del connections["watched"], connections.settings["watched"]


@pytest.fixture
def store(commands: Commands) -> BarStore:
    store = BarStore(Database("watched"))
    store.ensure()
    return store


def test_the_last_bars_of_five_hundred_symbols_take_one_round_trip(store: BarStore, commands: Commands) -> None:
    first = store.series("S:0", INTERVALS["1m"], bars_per_week=1950)
    bars = list(minutes(500))
    collection = Database().collection("bar_series")
    (document,) = collection.find()
    more = [{**document, "_id": f"series{n}", "symbol": f"S:{n}"} for n in range(1, 500)]
    collection.insert_many(more)
    every = store.all_series()
    store.push(list(zip(every, bars, strict=True)))
    commands.sent.clear()
    store.push(list(zip(every, bars, strict=True)))
    assert commands.sent[:3] == ["find", "update", "update"]  # folds by chance come after them
    commands.sent.clear()
    found = store.latest(every)
    assert commands.sent == ["find"]
    assert found == {series.id: bar for series, bar in zip(every, bars, strict=True)}
    assert first.id in found


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda store, series: store.last(series, 500), slice(-500, None)),
        (lambda store, series: store.last(series, 500, START + 3 * WEEK_MS), slice(3 * WEEK - 500, 3 * WEEK)),
        (lambda store, series: store.read(series, START + WEEK_MS, START + 3 * WEEK_MS), slice(WEEK, 3 * WEEK)),
        (lambda store, series: store.read(series, START + WEEK_MS + 60_000, START + WEEK_MS + 120_000),
         slice(WEEK + 1, WEEK + 2)),
    ],
    ids=["last", "last before", "range", "one bar"],
)  # fmt: skip
def test_last_bars_and_ranges_take_one_round_trip_however_long_the_history(
    store: BarStore, commands: Commands, read: Callable[[BarStore, Series], Bars], expected: slice
) -> None:
    series = store.series("A:A", INTERVALS["1m"], bars_per_week=10_080)
    bars = minutes(12 * WEEK)
    store.write(series, bars)
    series = store.all_series()[0]
    commands.sent.clear()
    found = read(store, series)
    assert commands.sent == ["find"]
    assert same_bits(found, bars[expected])
    assert all(isinstance(column, np.ndarray) for column in found.columns)


def test_iterating_takes_the_memory_of_a_few_chunks_whatever_the_range(store: BarStore, commands: Commands) -> None:
    series = store.series("A:A", INTERVALS["1m"], bars_per_week=10_080)
    chunks = 60
    for number in range(0, chunks, 10):
        store.write(series, minutes(10 * WEEK, START + number * WEEK_MS, seed=number))

    def peak(weeks: int) -> int:
        tracemalloc.start()
        try:
            assert sum(map(len, store.iterate(series, None, START + weeks * WEEK_MS))) == weeks * WEEK
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(chunks)  # what is made once
    short, long = peak(20), peak(chunks)
    assert long < 1.3 * short
    assert long < chunks * WEEK * 48 / 5  # of what the columns take at once
