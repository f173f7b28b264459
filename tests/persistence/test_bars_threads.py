"""Threads that use one series at once."""

import threading
from collections.abc import Callable

from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, Series
from tests.persistence.bits import same_bits
from tests.persistence.minutes import minutes


def in_threads(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not any(thread.is_alive() for thread in threads)


def test_threads_that_make_one_series_at_once_get_the_same(database: Database) -> None:
    database.collection("bar_series").drop()  # nor is there an index yet
    found: list[Series] = []
    together = threading.Barrier(6, timeout=30)

    def make() -> None:
        together.wait()
        found.append(BarStore(Database()).series("A:A", INTERVALS["1d"], bars_per_week=5))

    in_threads([make] * 6)
    assert len(found) == 6
    assert len({one.id for one in found}) == 1


def test_threads_that_write_push_and_fold_one_chunk_lose_nothing(store: BarStore, series: Series) -> None:
    bars = minutes(600)
    errors: list[BaseException] = []

    def guarded(work: Callable[[BarStore], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work(BarStore(Database()))
            except BaseException as error:  # noqa: BLE001 - shown by the assertion
                errors.append(error)

        return run

    def write(own: BarStore) -> None:
        for start in range(0, 400, 40):
            own.write(series, bars[start : start + 60])  # overlapping

    def write_backwards(own: BarStore) -> None:
        for start in range(360, -1, -60):
            own.write(series, bars[start : start + 80])

    def push(own: BarStore) -> None:
        for bar in bars[400:]:
            own.push([(series, bar)])

    def fold(own: BarStore) -> None:
        for _ in range(30):
            own.fold(series)

    in_threads([guarded(work) for work in (write, write_backwards, push, fold)])
    assert errors == []
    assert same_bits(store.read(series), bars[:600])
    assert store.count(series) == 600
