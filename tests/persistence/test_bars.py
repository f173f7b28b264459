"""The BarStore: series, bars written and read by range, damage found."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from django.db import models as django_models

from infrastructure.bars import Bars
from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, Series, Written
from infrastructure.persistence.bar_documents import WEEK_MS
from marketdata import models
from tests.persistence.bits import same_bits
from tests.persistence.minutes import MINUTE, START, chunks, minutes

NAN = float("nan")


def test_a_series_is_made_once_and_its_id_does_not_follow_from_its_name(store: BarStore, series: Series) -> None:
    again = store.series("BINANCE:BTCUSDT", INTERVALS["1m"], bars_per_week=1)  # the span is fixed at creation
    unadjusted = store.series("BINANCE:BTCUSDT", INTERVALS["1m"], bars_per_week=10_080, adjustment="none")
    assert again == series
    assert (series.symbol, series.interval, series.adjustment, series.session) == (
        "BINANCE:BTCUSDT", INTERVALS["1m"], "splits", "regular",
    )  # fmt: skip
    assert (series.revision, series.span_ms, series.first_ms, series.last_ms) == (1, WEEK_MS, None, None)
    assert unadjusted.id != series.id
    assert len(series.id) == 8
    assert store.find("BINANCE:BTCUSDT", INTERVALS["1m"], adjustment="none") == unadjusted
    assert store.find("BINANCE:BTCUSDT", INTERVALS["5m"]) is None
    assert sorted(found.id for found in store.all_series()) == sorted([series.id, unadjusted.id])


def test_an_id_that_is_always_taken_ends_in_unavailable(database: Database) -> None:
    store = BarStore(database, random=lambda: 0.5)
    store.series("A:A", INTERVALS["1d"], bars_per_week=5)
    with pytest.raises(Unavailable, match="B:B 1d"):
        store.series("B:B", INTERVALS["1d"], bars_per_week=5)


def test_collections_are_compressed_and_made_only_once(store: BarStore, database: Database) -> None:
    for name in ("bar_chunk", "bar_series"):
        database.collection(name).drop()
    store.ensure()
    store.ensure()
    for name in ("bar_chunk", "bar_series"):
        options = database.collection(name).options()
        assert options == {"storageEngine": {"wiredTiger": {"configString": "block_compressor=zstd"}}}
    assert database.collection("bar_series").index_information()["symbol_1_interval_1_adjustment_1_session_1"]["unique"]


def test_bars_come_back_as_they_were_written(store: BarStore, series: Series) -> None:
    bars = minutes(25_000)
    assert store.write(series, bars) == Written(new=25_000, corrected=0, documents=3)
    assert same_bits(store.read(series), bars)
    assert store.count(series) == 25_000


def test_writing_the_same_again_writes_nothing(store: BarStore, series: Series, database: Database) -> None:
    bars = minutes(25_000)
    store.write(series, bars)
    before = [*chunks(database), *database.collection("bar_series").find()]
    assert store.write(series, bars) == Written()
    assert store.write(series, bars[5000:12_000]) == Written()
    assert store.write(series, Bars.empty()) == Written()
    assert [*chunks(database), *database.collection("bar_series").find()] == before


def test_corrections_and_gaps_filled_are_counted_and_touch_their_chunks_only(
    store: BarStore, series: Series, database: Database
) -> None:
    bars = minutes(25_000)
    holes = np.ones(25_000, np.bool_)
    holes[[100, 200, 10_079]] = False
    store.write(series, bars[holes])
    changed = Bars(*(column.copy() for column in bars.columns))
    changed.close[[50, 150]] = 1.5
    changed.volume[150] = NAN
    assert store.write(series, changed[:20_000]) == Written(new=3, corrected=2, documents=1)
    assert same_bits(store.read(series), changed)
    assert [chunk["rev"] for chunk in chunks(database)] == [2, 1, 1]


def test_unsorted_bars_with_repeated_times_are_written_sorted(store: BarStore, series: Series) -> None:
    bars = minutes(3)
    twice = Bars.concat([bars[2:], minutes(3, seed=9), bars[:2], bars[2:]])
    assert store.write(series, twice) == Written(new=3, corrected=0, documents=1)
    assert same_bits(store.read(series), bars)


def test_nothing_of_a_batch_with_an_impossible_time_is_written(store: BarStore, series: Series) -> None:
    bars = Bars(np.array([START, 10**17]), *np.ones((5, 2)))
    with pytest.raises(Rejected):
        store.write(series, bars)
    assert len(store.read(series)) == 0


def test_a_series_knows_its_range_and_its_last_bar(store: BarStore, series: Series, database: Database) -> None:
    bars = minutes(100)
    store.write(series, bars[50:60])
    store.write(series, bars[10:20])
    found = store.find(series.symbol, series.interval)
    assert found is not None
    assert (found.first_ms, found.last_ms) == (bars.time_ms[10], bars.time_ms[59])
    assert store.latest([series]) == {series.id: next(iter(bars[59:]))}
    stored = database.collection("bar_series").find_one()
    assert stored is not None
    assert abs(stored["updated_at"] - datetime.now(UTC)).total_seconds() < 60


def test_what_died_before_the_series_was_told_is_told_by_the_next_identical_write(
    store: BarStore, series: Series, database: Database
) -> None:
    bars = minutes(10)
    store.write(series, bars)
    database.collection("bar_series").update_one({}, {"$set": {"first_ms": None, "last_ms": None, "last": None}})
    assert store.latest([series]) == {}
    assert store.write(series, bars) == Written()
    assert store.latest([series]) == {series.id: next(iter(bars[9:]))}


def test_ranges_include_their_start_and_exclude_their_end(store: BarStore, series: Series) -> None:
    bars = minutes(25_000)
    store.write(series, bars)
    for low, high in [(0, 1), (10_079, 10_081), (10_080, 20_160), (24_999, 25_000), (500, 500), (7, 3)]:
        part = store.read(series, int(START + low * MINUTE), int(START + high * MINUTE))
        assert same_bits(part, bars[low:high])
    assert same_bits(store.read(series, START + 1, START + MINUTE + 1), bars[1:2])
    assert same_bits(store.read(series, None, START + 5 * MINUTE), bars[:5])
    assert same_bits(store.read(series, START + 24_990 * MINUTE), bars[24_990:])
    assert same_bits(store.read(series, -(2**62), 2**62), bars)


def test_iteration_gives_the_same_bars_chunk_by_chunk(store: BarStore, series: Series) -> None:
    bars = minutes(25_000)
    store.write(series, bars)
    parts = list(store.iterate(series, START + 5 * MINUTE, START + 24_000 * MINUTE))
    assert [len(part) for part in parts] == [10_075, 10_080, 3840]
    assert same_bits(Bars.concat(parts), bars[5:24_000])
    assert list(store.iterate(series, START - 5, START)) == []
    assert store.count(series, START + 5 * MINUTE, START + 24_000 * MINUTE) == 23_995
    assert store.count(series, START - 5, START) == 0


@pytest.mark.parametrize("n", [-1, 0, 1, 500, 4840, 4841, 24_999, 25_000, 30_000])
def test_the_last_bars_are_the_newest_ascending(store: BarStore, series: Series, n: int) -> None:
    bars = minutes(25_000)
    store.write(series, bars)
    assert same_bits(store.last(series, n), bars[25_000 - min(max(n, 0), 25_000) :])


def test_the_last_bars_before_a_time_end_there(store: BarStore, series: Series) -> None:
    bars = minutes(60_000)
    store.write(series, bars)
    for before in (1, 10_079, 10_080, 10_081, 45_000):
        page = store.last(series, 20_500, before_ms=int(bars.time_ms[before]))
        assert same_bits(page, bars[max(0, before - 20_500) : before])
    assert len(store.last(series, 5, before_ms=START)) == 0


def test_bars_before_1970_and_across_a_great_gap_are_kept(store: BarStore) -> None:
    daily = store.series("TVC:RUT", INTERVALS["1d"], bars_per_week=5)
    days = np.array([-3_000_000_000_000, -86_400_000, 0, 86_400_000, START, 4_000_000_000_000])
    bars = Bars(days, *np.arange(30.0).reshape(5, 6))
    store.write(daily, bars[3:])
    store.write(daily, bars[:4])
    assert same_bits(store.read(daily), bars)
    assert same_bits(store.last(daily, 4), bars[2:])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[:20],
        lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
        lambda data: b"\x07" + data[1:],
        lambda data: b"",
    ],
    ids=["cut", "cut short", "flipped", "other version", "gone"],
)
def test_a_damaged_chunk_is_malformed_with_its_id(
    store: BarStore, series: Series, database: Database, damage: Callable[[bytes], bytes]
) -> None:
    store.write(series, minutes(200))
    chunk = chunks(database)[0]
    wrong = damage(chunk["data"])  # type: ignore[arg-type]
    database.collection("bar_chunk").update_one({"_id": chunk["_id"]}, {"$set": {"data": wrong}})
    calls: list[Callable[[], object]] = [
        lambda: store.read(series),
        lambda: store.last(series, 5),
        lambda: list(store.iterate(series)),
        lambda: store.write(series, minutes(1, seed=5)),
    ]
    for call in calls:
        with pytest.raises(Malformed, match=str(chunk["_id"])):
            call()


def test_a_chunk_that_claims_another_number_of_bars_is_malformed(
    store: BarStore, series: Series, database: Database
) -> None:
    store.write(series, minutes(200))
    database.collection("bar_chunk").update_one({}, {"$set": {"n": 199}})
    with pytest.raises(Malformed, match=series.id):
        store.read(series)


@pytest.mark.parametrize(
    ("model", "hidden"), [(models.BarChunk, {"data", "tail"}), (models.BarSeries, {"last"})], ids=["chunk", "series"]
)
def test_the_models_show_what_the_store_writes(
    store: BarStore,
    series: Series,
    database: Database,
    model: type[django_models.Model],
    hidden: set[str],
) -> None:
    """Hidden: what the admin must not fetch with every row."""
    monday = minutes(2, start=START + WEEK_MS)
    store.write(series, minutes(1))
    store.push([(series, next(iter(monday)))])
    columns = {field.column for field in model._meta.concrete_fields}
    for document in database.collection(model._meta.db_table).find():
        assert set(document) - hidden == columns
    rows = list(model.objects.order_by("pk").values())  # type: ignore[attr-defined]
    stored = database.collection(model._meta.db_table).find({}, dict.fromkeys(hidden, 0)).sort("_id")
    assert [{("_id" if key == "id" else key): value for key, value in row.items()} for row in rows] == list(stored)
