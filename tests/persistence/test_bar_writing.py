"""What a writer does when others come between its reading and its writing."""

from collections.abc import Callable
from typing import Any

import pytest
from pymongo.collection import Collection

from infrastructure.errors import Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, Series, Written
from infrastructure.persistence.bar_documents import WEEK_MS, by_chunk
from infrastructure.persistence.bar_writing import TRIES, ChunkWriter
from tests.persistence.bits import same_bits
from tests.persistence.minutes import START, minutes

WEEK = WEEK_MS // 60_000  # minutes


class Contended(Collection[dict[str, Any]]):
    """The real collection, in which a rival acts just before each bulk write."""

    def __init__(self, database: Database, rival: Callable[[int], object]) -> None:
        super().__init__(database.collection("bar_chunk").database, "bar_chunk")
        self._rival = rival
        self._turn = 0

    def bulk_write(self, *arguments: Any, **options: Any) -> Any:
        self._rival(self._turn)
        self._turn += 1
        return super().bulk_write(*arguments, **options)


@pytest.fixture
def store(database: Database) -> BarStore:
    return BarStore(database)


@pytest.fixture
def series(store: BarStore) -> Series:
    return store.series("A:A", INTERVALS["1m"], bars_per_week=WEEK)


def at_first(act: Callable[[], object]) -> Callable[[int], object]:
    return lambda turn: act() if turn == 0 else None


def test_a_rival_who_makes_the_chunk_first_loses_nothing(database: Database, store: BarStore, series: Series) -> None:
    bars = minutes(100)
    writer = ChunkWriter(Contended(database, at_first(lambda: store.write(series, bars[:60]))), lambda: 0.0)
    assert writer.merge(series, {START: bars[40:]}) == Written(new=40, corrected=0, documents=1)
    assert same_bits(store.read(series), bars)


def test_a_rival_who_pushes_loses_nothing(database: Database, store: BarStore, series: Series) -> None:
    bars = minutes(100)
    store.write(series, bars[:50])
    rival = at_first(lambda: store.push([(series, bar) for bar in bars[90:]]))
    writer = ChunkWriter(Contended(database, rival), lambda: 0.0)
    assert writer.merge(series, {START: bars[50:90]}) == Written(new=40, corrected=0, documents=1)
    assert same_bits(store.read(series), bars)


def test_chunks_that_got_through_are_counted_once_and_not_written_again(
    database: Database, store: BarStore, series: Series
) -> None:
    bars = minutes(3 * WEEK)
    store.write(series, bars[WEEK : 2 * WEEK - 5])
    parts = dict(by_chunk(series, bars))
    rival = at_first(lambda: store.write(series, minutes(2 * WEEK, seed=2)[WEEK : WEEK + 3]))  # the middle chunk alone
    writer = ChunkWriter(Contended(database, rival), lambda: 0.0)
    assert writer.merge(series, parts) == Written(new=2 * WEEK + 5, corrected=3, documents=3)
    assert same_bits(store.read(series), bars)
    assert [chunk["rev"] for chunk in database.collection("bar_chunk").find().sort("_id")] == [1, 3, 1]


def test_a_fold_that_meets_a_push_leaves_both(database: Database, store: BarStore, series: Series) -> None:
    bars = minutes(4)
    store.push([(series, bar) for bar in bars[:3]])

    class Late(Contended):
        def update_one(self, *arguments: Any, **options: Any) -> Any:
            store.push([(series, bar) for bar in bars[3:]])
            return super().update_one(*arguments, **options)

    assert ChunkWriter(Late(database, lambda turn: None), lambda: 0.0).fold({}) == 0
    assert same_bits(store.read(series), bars)


def test_a_writer_that_always_comes_second_gives_up_as_unavailable(
    database: Database, store: BarStore, series: Series
) -> None:
    bars = minutes(2)
    store.write(series, bars[:1])
    turns = []

    def rival(turn: int) -> None:
        turns.append(turn)
        database.collection("bar_chunk").update_one({}, {"$inc": {"rev": 1}})

    with pytest.raises(Unavailable, match="A:A 1m"):
        ChunkWriter(Contended(database, rival), lambda: 0.0).merge(series, {START: bars})
    assert len(turns) == TRIES
    assert same_bits(store.read(series), bars[:1])
