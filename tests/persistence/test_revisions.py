import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, CoverageStore, Database, Replaced, Series
from infrastructure.persistence.bar_documents import WEEK_MS
from infrastructure.persistence.revisions import SURE_S

START = 1_704_067_200_000
MINUTE = INTERVALS["1m"]


@pytest.fixture
def store(database: Database) -> BarStore:
    database.collection("bar_coverage").delete_many({})
    store = BarStore(database)
    store.ensure()
    return store


@pytest.fixture
def series(store: BarStore) -> Series:
    series = store.series("A:A", MINUTE, bars_per_week=10_080)
    store.write(series, priced(100.0))
    return found(store)


def priced(price: float, chunks: int = 3) -> Bars:
    """A bar in each of some chunks, all at one price."""
    return Bars.from_rows([(START + number * WEEK_MS * 2, *[price] * 4, 1.0) for number in range(chunks)])


def found(store: BarStore) -> Series:
    series = store.find("A:A", MINUTE)
    assert series is not None
    return series


def prices(store: BarStore, series: Series) -> list[float]:
    return store.read(series).close.tolist()


def old(series: Series) -> Series:
    """As if it had been looked up long ago."""
    return replace(series, looked_up_s=series.looked_up_s - 2 * SURE_S)


def ids(database: Database) -> list[int]:
    return sorted(document["revision"] for document in database.collection("bar_chunk").find())


def test_readers_get_the_old_revision_until_the_switch_and_the_new_one_from_then_on(
    store: BarStore, series: Series
) -> None:
    draft = store.revisions.begin(series)
    assert (draft.revision, draft.draft, draft.first_ms) == (2, True, None)
    store.write(draft, priced(50.0))
    assert prices(store, found(store)) == [100.0] * 3
    assert store.latest([series])[series.id].close == 100.0
    switched = store.revisions.switch(draft)
    assert switched == found(store)
    assert (switched.revision, switched.draft, switched.first_ms, switched.last_ms) == (
        2, False, START, START + 4 * WEEK_MS,
    )  # fmt: skip
    assert prices(store, switched) == [50.0] * 3
    assert store.latest([switched])[switched.id].close == 50.0
    assert prices(store, series) == [100.0] * 3  # whoever was reading it reads it whole
    assert store.count(switched) == 3


def test_a_shorter_revision_has_its_own_first_and_last_bar(store: BarStore, series: Series) -> None:
    draft = store.revisions.begin(series)
    store.write(draft, priced(50.0, chunks=1))
    switched = store.revisions.switch(draft)
    assert (switched.first_ms, switched.last_ms) == (START, START)
    empty = store.revisions.switch(store.revisions.begin(switched))
    assert (empty.first_ms, empty.last_ms, store.latest([empty]), prices(store, empty)) == (None, None, {}, [])


def test_a_series_held_across_a_switch_cannot_be_written_to(store: BarStore, series: Series) -> None:
    draft = store.revisions.begin(series)
    store.write(draft, priced(50.0))
    store.revisions.switch(draft)
    with pytest.raises(Replaced, match="A:A 1m are being replaced, or were: try again"):
        store.write(series, priced(77.0))
    assert prices(store, series) == [100.0] * 3
    assert prices(store, found(store)) == [50.0] * 3
    store.write(draft, priced(51.0))  # the draft's writer may go on: it is the present revision now
    assert prices(store, found(store)) == [51.0] * 3


def test_a_marked_series_does_not_grow_until_it_was_loaded_anew(store: BarStore, series: Series) -> None:
    assert store.revisions.mark(series, 0.5)
    assert not store.revisions.mark(series, 0.25)
    assert found(store).rebased == 0.5
    with pytest.raises(Replaced):
        store.write(series, priced(50.0))
    newest = Bar(START + 5 * WEEK_MS, 50.0, 50.0, 50.0, 50.0, 1.0)
    store.push([(series, newest)])
    assert prices(store, series) == [100.0] * 3
    draft = store.revisions.begin(series)
    store.write(draft, priced(50.0))
    switched = store.revisions.switch(draft)
    assert switched.rebased is None
    store.push([(switched, newest)])
    assert prices(store, switched) == [50.0] * 4


def test_a_live_bar_goes_to_the_present_revision_whatever_its_series_said(store: BarStore, series: Series) -> None:
    other = store.series("A:B", MINUTE, bars_per_week=10_080)
    draft = store.revisions.begin(series)
    store.write(draft, priced(50.0))
    store.revisions.switch(draft)
    newest = Bar(START + 5 * WEEK_MS, 51.0, 51.0, 51.0, 51.0, 1.0)
    store.push([(series, newest), (other, newest)])
    assert prices(store, found(store)) == [50.0, 50.0, 50.0, 51.0]
    assert prices(store, series) == [100.0] * 3
    assert prices(store, other) == [51.0]
    assert store.latest([series])[series.id] == newest
    assert store.revisions.draft(series) is None


def test_a_second_draft_replaces_the_first(store: BarStore, series: Series) -> None:
    first, second = store.revisions.begin(series), store.revisions.begin(series)
    assert (first.revision, second.revision) == (2, 3)
    assert store.revisions.draft(series) == second
    with pytest.raises(Replaced):
        store.write(first, priced(1.0))
    with pytest.raises(Replaced):
        store.revisions.switch(first)
    store.write(second, priced(50.0))
    assert prices(store, store.revisions.switch(second)) == [50.0] * 3


def test_what_was_replaced_is_swept_away_after_its_time(store: BarStore, series: Series, database: Database) -> None:
    abandoned = store.revisions.begin(series)
    store.write(abandoned, priced(1.0))
    draft = store.revisions.begin(series)
    store.write(draft, priced(50.0))
    CoverageStore(database).add(series, [(1, 2)])
    CoverageStore(database).add(draft, [(3, 4)])
    switched = store.revisions.switch(draft)
    assert store.revisions.sweep() == 0
    assert ids(database) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert prices(store, old(series)) == [100.0] * 3
    assert store.revisions.sweep(grace_s=0) == 2
    assert ids(database) == [3, 3, 3]
    assert [one["_id"] for one in database.collection("bar_coverage").find()] == [f"{series.id}:3"]
    assert prices(store, old(switched)) == [50.0] * 3
    assert store.revisions.sweep(grace_s=0) == 0


@pytest.mark.parametrize(
    "read",
    [
        lambda store, series: store.read(series),
        lambda store, series: list(store.iterate(series)),
        lambda store, series: store.last(series, 5),
        lambda store, series: store.count(series),
    ],
    ids=["read", "iterate", "last", "count"],
)
def test_a_series_that_was_swept_away_is_not_read_as_if_it_had_holes(
    store: BarStore, series: Series, read: Callable[[BarStore, Series], object]
) -> None:
    draft = store.revisions.begin(series)
    store.write(draft, priced(50.0))
    store.revisions.switch(draft)
    read(store, old(series))
    store.revisions.sweep(grace_s=0)
    with pytest.raises(Replaced):
        read(store, old(series))


def test_a_sweep_that_died_is_finished_by_the_next(store: BarStore, series: Series, database: Database) -> None:
    store.revisions.switch(store.revisions.begin(series))
    database.collection("bar_series").update_one({}, {"$set": {"retired.0.dead": True}})
    database.collection("bar_chunk").delete_one({"revision": 1})
    with pytest.raises(Replaced):
        store.read(old(series))
    assert store.revisions.sweep() == 1
    assert ids(database) == []


def test_revisions_are_never_given_twice(store: BarStore, series: Series) -> None:
    numbers = []
    for _ in range(12):
        draft = store.revisions.begin(series)
        numbers.append(draft.revision)
        series = store.revisions.switch(draft)
        store.revisions.sweep(grace_s=0)
    assert numbers == list(range(2, 14))


def test_no_reader_sees_a_mixture_while_revisions_are_switched(store: BarStore, series: Series) -> None:
    """Prices of one revision are all alike; readers look the series up each time, or hold it for a while."""
    mixtures: list[list[float]] = []
    reads, done = [0], threading.Event()

    def look() -> None:
        reader = BarStore(Database())
        held = found(reader)
        while not done.is_set():
            reads[0] += 1
            if reads[0] % 5 == 0:
                held = found(reader)
            values = prices(reader, held)
            if len(values) != 3 or len(set(values)) != 1:
                mixtures.append(values)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(20):
        draft = store.revisions.begin(series)
        for part in priced(float(number)), priced(float(number) + 0.5):
            store.write(draft, part)
        series = store.revisions.switch(draft)
        store.revisions.sweep()
    done.set()
    for thread in threads:
        thread.join()
    assert reads[0] > 20
    assert mixtures == []
