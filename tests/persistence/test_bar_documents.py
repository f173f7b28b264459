from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Malformed, Rejected
from infrastructure.intervals import DAY_MS, INTERVALS
from infrastructure.persistence import bar_codec
from infrastructure.persistence import bar_documents as documents
from infrastructure.persistence.bar_documents import WEEK_MS, Series
from infrastructure.times import to_ms
from tests.persistence.bits import same_bits

NAN = float("nan")


def series(span_ms: int = WEEK_MS, revision: int = 1) -> Series:
    return Series("abcdefgh", "A:A", INTERVALS["1m"], "splits", "regular", revision, span_ms)


def bars(*rows: tuple[float, ...]) -> Bars:
    """(time, price) rows of flat bars."""
    return Bars.from_rows([(time, price, price, price, price, 1.0) for time, price in rows])


@pytest.mark.parametrize(
    ("bars_per_week", "weeks", "bars_in_a_chunk"),
    [
        (10_080, 1, 10_080),  # a coin, minutes
        (1950, 6, 11_700),  # a stock, minutes
        (2016, 6, 12_096),
        (390, 31, 12_090),
        (7999, 2, 15_998),
        (168, 71, 11_928),
        (35, 343, 12_005),
        (5, 2400, 12_000),  # days
        (1, 5200, 5200),  # weeks: no chunk is longer than a century
        (7 / 30, 5200, 1213),
    ],
)
def test_a_chunk_spans_whole_weeks_of_about_twelve_thousand_bars(
    bars_per_week: float, weeks: int, bars_in_a_chunk: int
) -> None:
    assert documents.span_of(bars_per_week) == weeks * WEEK_MS
    assert round(weeks * bars_per_week) == bars_in_a_chunk


@pytest.mark.parametrize("bars_per_week", [0, -1, NAN])
def test_a_series_without_bars_in_a_week_is_rejected(bars_per_week: float) -> None:
    with pytest.raises(Rejected):
        documents.span_of(bars_per_week)


def test_chunks_begin_on_mondays_and_their_ids_sort_as_their_times_do() -> None:
    moments = [datetime(year, 5, 6, 7, 8, tzinfo=UTC) for year in (1000, 1582, 1899, 1969, 1970, 2024, 8999)]
    starts = [documents.chunk_start(series(), to_ms(moment)) for moment in moments]
    assert all(start <= to_ms(moment) < start + WEEK_MS for start, moment in zip(starts, moments, strict=True))
    ids = [documents.chunk_id(series(), start) for start in starts]
    assert ids == sorted(ids)
    assert ids[-2:] == ["abcdefgh:1:20240506T0000", "abcdefgh:1:89990506T0000"]
    assert documents.chunk_start(series(), starts[3] - 1) == starts[3] - WEEK_MS


def test_the_longest_chunk_of_the_earliest_bar_has_an_id_that_sorts() -> None:
    century = series(documents.MOST_WEEKS * WEEK_MS)
    start = documents.chunk_start(century, documents.EARLIEST_MS)
    assert documents.chunk_id(century, start) < documents.chunk_id(century, start + century.span_ms)


def test_a_range_of_ids_holds_one_series_and_revision_only() -> None:
    whole = documents.id_range(series(), None, None)
    others = ["abcdefgh:10:20240101T0000", "abcdefgh:2:20240101T0000", "abcdefghi:1:20240101T0000", "abcdefg:1:2024"]
    assert [other for other in others if whole["$gte"] <= other <= whole["$lte"]] == []
    assert whole["$gte"] <= "abcdefgh:1:09990101T0000" <= "abcdefgh:1:89991231T2359" <= whole["$lte"]


def test_a_range_ends_before_the_chunk_that_begins_at_its_end() -> None:
    monday = documents.MONDAY_MS
    assert documents.id_range(series(), monday, monday + WEEK_MS) == {
        "$gte": "abcdefgh:1:19700105T0000",
        "$lte": "abcdefgh:1:19700105T0000",
    }
    assert documents.id_range(series(), -(10**17), 10**17) == {
        "$gte": "abcdefgh:1:09991230T0000",
        "$lte": "abcdefgh:1:89991230T0000",
    }


def test_bars_are_cut_at_the_edges_of_chunks() -> None:
    monday = documents.MONDAY_MS
    parts = list(
        documents.by_chunk(series(), bars((monday - 1, 1), (monday, 2), (monday + 1, 3), (monday + DAY_MS * 20, 4)))
    )
    assert [(start, part.close.tolist()) for start, part in parts] == [
        (monday - WEEK_MS, [1]),
        (monday, [2, 3]),
        (monday + 2 * WEEK_MS, [4]),
    ]
    assert list(documents.by_chunk(series(), Bars.empty())) == []


def test_unsorted_bars_are_sorted_and_the_last_of_equal_times_counts() -> None:
    assert same_bits(documents.cleaned(bars((3, 1), (1, 2), (3, 4), (2, 5), (1, 6))), bars((1, 6), (2, 5), (3, 4)))


def test_columns_of_other_types_become_those_of_the_store() -> None:
    times = np.array([1, 2], np.int32)
    table = np.arange(10, dtype=np.float32).reshape(2, 5)
    clean = documents.cleaned(Bars(times, *(table[:, i] for i in range(5))))  # type: ignore[arg-type]
    assert same_bits(clean, Bars.from_rows([(1, 0, 1, 2, 3, 4), (2, 5, 6, 7, 8, 9)]))


def test_columns_of_unequal_length_are_rejected() -> None:
    good = bars((1, 1), (2, 2))
    with pytest.raises(Rejected, match="length"):
        documents.cleaned(Bars(good.time_ms, good.open, good.high[:1], good.low, good.close, good.volume))


@pytest.mark.parametrize("ms", [documents.EARLIEST_MS - 1, documents.LATEST_MS, 2**62, -(2**62)])
def test_a_bar_beyond_the_calendar_is_rejected(ms: int) -> None:
    one = np.ones(1)
    with pytest.raises(Rejected, match="years"):
        documents.cleaned(Bars(np.array([ms]), one, one, one, one, one))
    with pytest.raises(Rejected, match="years"):
        documents.row_of(Bar(ms, 1, 1, 1, 1, 1))


@pytest.mark.parametrize(
    ("old", "new", "merged", "counts"),
    [
        ([], [(1, 1)], [(1, 1)], (1, 0)),
        ([(1, 1)], [], [(1, 1)], (0, 0)),
        ([(1, 1)], [(2, 2)], [(1, 1), (2, 2)], (1, 0)),
        ([(3, 3)], [(1, 1), (2, 2)], [(1, 1), (2, 2), (3, 3)], (2, 0)),
        ([(1, 1), (3, 3)], [(2, 2), (3, 3)], [(1, 1), (2, 2), (3, 3)], (1, 0)),
        ([(1, 1), (3, 3)], [(1, 9), (4, 4)], [(1, 9), (3, 3), (4, 4)], (1, 1)),
        ([(1, NAN), (2, 0.0)], [(1, NAN), (2, 0.0)], [(1, NAN), (2, 0.0)], (0, 0)),
        ([(1, 0.0)], [(1, -0.0)], [(1, -0.0)], (0, 1)),
        ([(1, 1), (5, 5)], [(2, 2), (3, 3), (6, 6)], [(1, 1), (2, 2), (3, 3), (5, 5), (6, 6)], (3, 0)),
        ([(1, 1), (2, 2), (3, 3), (4, 4)], [(2, 2), (3, 9)], [(1, 1), (2, 2), (3, 9), (4, 4)], (0, 1)),
        ([(1, 1), (2, 2)], [(2, 2), (3, 3)], [(1, 1), (2, 2), (3, 3)], (1, 0)),
    ],
)
def test_merging_is_the_union_in_which_the_new_wins(
    old: list[tuple[float, ...]],
    new: list[tuple[float, ...]],
    merged: list[tuple[float, ...]],
    counts: tuple[int, int],
) -> None:
    before = bars(*old)
    result, *found = documents.merge(before, bars(*new))
    assert same_bits(result, bars(*merged))
    assert tuple(found) == counts
    assert (result is before) == (counts == (0, 0))


# --- Damage ---


def document() -> dict[str, object]:
    random = np.random.default_rng(1)
    times = documents.MONDAY_MS + 60_000 * np.arange(40)
    return documents.chunk_document(
        series(), documents.MONDAY_MS, Bars(times, *(random.integers(1, 999, (5, 40)) / 100)), 1
    )


def refused(wrong: dict[str, object]) -> None:
    """With its id, however it is unpacked."""
    with pytest.raises(Malformed, match=r"^Bar chunk abcdefgh:1:19700105T0000 is damaged: "):
        documents.unpack(wrong)
    with pytest.raises(Malformed, match=r"^Bar chunk abcdefgh:1:19700105T0000 is damaged: "):
        documents.room(wrong)
        documents.unpack_into(wrong, bar_codec.allocate(41), 0, documents.MONDAY_MS, documents.MONDAY_MS + DAY_MS)


@given(st.data())
@settings(max_examples=300)
def test_a_chunk_of_which_any_byte_changed_is_refused_with_its_id(data: st.DataObject) -> None:
    right = document()
    blob = bytearray(right["data"])  # type: ignore[call-overload]
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    refused({**right, "data": bytes(blob)})


def test_a_chunk_that_was_cut_anywhere_is_refused_with_its_id() -> None:
    right = document()
    blob = bytes(right["data"])  # type: ignore[call-overload]
    for end in range(len(blob)):
        refused({**right, "data": blob[:end]})


def test_a_chunk_of_another_version_is_refused_with_its_id() -> None:
    right = document()
    for version in range(256):
        if version != bar_codec.VERSION:
            refused({**right, "data": bytes([version]) + bytes(right["data"])[1:]})  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "damage",
    [
        {"n": 39},
        {"n": 41},
        {"n": 0},  # it would read as empty
        {"n": 5, "data": b""},
        {"data": None},
        {"tail": [[documents.MONDAY_MS, 1.0, 1.0, 1.0, 1.0]]},
        {"tail": [[documents.MONDAY_MS, 1.0, 1.0, 1.0, 1.0, 1.0], [5]]},
        {"tail": [[documents.MONDAY_MS, 1.0, "one", 1.0, 1.0, 1.0]]},
        {"tail": [[]]},
        {"tail": [5]},
    ],
    ids=str,
)
def test_a_chunk_whose_fields_do_not_agree_is_refused_with_its_id(damage: dict[str, object]) -> None:
    documents.unpack(document())
    with pytest.raises(Malformed, match=r"^Bar chunk abcdefgh:1:19700105T0000 is damaged: "):
        documents.unpack({**document(), **damage})
