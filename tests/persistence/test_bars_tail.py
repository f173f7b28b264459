"""Bars pushed one by one: read like written ones, and folded into their chunk."""

import numpy as np

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, Series, Written
from infrastructure.persistence.bar_documents import TAIL
from tests.persistence.bits import same_bits
from tests.persistence.minutes import MINUTE, START, chunks, minutes


def test_pushed_bars_are_read_like_written_ones(store: BarStore, series: Series) -> None:
    bars = minutes(20)
    store.write(series, bars[:5])
    for bar in bars[5:]:
        store.push([(series, bar)])
    store.push([])
    assert same_bits(store.read(series), bars)
    assert same_bits(store.last(series, 3), bars[17:])
    assert store.count(series) == 20
    assert store.latest([series]) == {series.id: next(iter(bars[19:]))}
    assert same_bits(Bars.concat(list(store.iterate(series, int(bars.time_ms[7])))), bars[7:])


def test_a_bar_pushed_again_is_there_once_with_its_latest_values(store: BarStore, series: Series) -> None:
    first, again = minutes(6), minutes(6, seed=2)
    store.write(series, first[:3])
    for bar in [*first[2:], *first[2:], *again[4:], *again[1:2]]:
        store.push([(series, bar)])
    expected = Bars.concat([first[:1], again[1:2], first[2:4], again[4:]])
    assert same_bits(store.read(series), expected)
    assert store.count(series) == 6
    assert store.latest([series]) == {series.id: next(iter(again[5:]))}
    assert store.fold(series) == 1
    assert same_bits(store.read(series), expected)


def test_many_series_are_pushed_and_asked_for_their_last_bar_together(store: BarStore, database: Database) -> None:
    all_series = [store.series(f"S:{n}", INTERVALS["1m"], bars_per_week=1950) for n in range(20)]
    empty = store.series("S:EMPTY", INTERVALS["1m"], bars_per_week=1950)
    bars = list(minutes(40))
    store.push([(one, bars[2 * n + i]) for n, one in enumerate(all_series) for i in (1, 0)])
    assert store.latest([*all_series, empty]) == {one.id: bars[2 * n + 1] for n, one in enumerate(all_series)}
    assert [list(store.read(one)) for one in all_series] == [bars[2 * n : 2 * n + 2] for n in range(20)]


def test_a_push_may_begin_a_series_and_a_chunk(store: BarStore, series: Series, database: Database) -> None:
    before, after = minutes(1, start=START - MINUTE), minutes(1)
    store.push([(series, bar) for bar in [*after, *before]])
    assert same_bits(store.read(series), Bars.concat([before, after]))
    assert [(chunk["n"], len(chunk["tail"])) for chunk in chunks(database)] == [(0, 1), (0, 1)]  # type: ignore[arg-type]


def test_pushing_folds_by_chance_and_writing_folds_a_long_tail(database: Database, series: Series) -> None:
    bars = minutes(TAIL + 1)
    never, always = BarStore(database, random=lambda: 1.0), BarStore(database, random=lambda: 0.0)

    def tail() -> tuple[object, int]:
        return chunks(database)[0]["n"], len(chunks(database)[0]["tail"])  # type: ignore[arg-type]

    never.push([(series, bar) for bar in bars[:TAIL]])
    assert tail() == (0, TAIL)
    assert never.write(series, bars[:TAIL]) == Written(new=0, corrected=0, documents=1)
    assert tail() == (TAIL, 0)
    never.push([(series, next(iter(bars[TAIL:])))])
    assert never.write(series, bars) == Written()
    assert tail() == (TAIL, 1)
    always.push([(series, next(iter(bars[TAIL:])))])
    assert tail() == (TAIL + 1, 0)
    assert same_bits(never.read(series), bars)


def test_folding_what_has_no_tail_changes_nothing(store: BarStore, series: Series, database: Database) -> None:
    store.write(series, minutes(10))
    before = chunks(database)
    assert store.fold(series) == 0
    assert chunks(database) == before


def test_any_double_survives_the_tail_too(store: BarStore, series: Series) -> None:
    odd = np.array([0x7FF8000000000001, -0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000, 1, -(2**63)], np.int64).view(
        np.float64
    )
    bars = Bars(START + MINUTE * np.arange(1), *odd.reshape(5, 1))
    store.push([(series, next(iter(bars)))])
    assert same_bits(store.read(series), bars)
    store.fold(series)
    assert same_bits(store.read(series), bars)
