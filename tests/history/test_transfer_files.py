"""Bars in files: every bit comes back, in pieces, and what is no such file says so."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from infrastructure import bar_files
from infrastructure.bar_files import About
from infrastructure.bars import Bars
from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence.bar_documents import EARLIEST_MS, LATEST_MS
from tests.persistence.bits import same_bits
from tests.platform.conftest import NOW_MS

COIN, SHARE, INDEX = "BINANCE:BTCUSDT", "NASDAQ:AAPL", "SP:SPX"
MINUTE = INTERVALS["1m"]
FORMATS = ("csv", "parquet", "arrow")
ABOUT = About(COIN, "1m", covered=[(1, 2), (5, 9)])
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS
number = st.floats(allow_nan=False, allow_infinity=False, width=64)
odd = st.sampled_from([0.1 + 0.2, -0.0, 5e-324, 1e300, float("inf"), float("nan"), 2**53 + 1.0, 2.0**31 * 100 + 0.01])
moment = st.integers(EARLIEST_MS, LATEST_MS)
rows = st.lists(st.tuples(moment, *[number | odd] * 5), max_size=30)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(rows=rows, form=st.sampled_from(FORMATS), cut=st.integers(0, 30))
def test_a_round_trip_is_bit_exact(tmp_path: Path, rows: list[tuple[float, ...]], form: str, cut: int) -> None:
    given_ = Bars(
        np.array([row[0] for row in rows], np.int64),
        *(np.array([row[column] for row in rows], np.float64) for column in range(1, 6)),
    )
    path = tmp_path / f"bars.{form}"
    assert bar_files.write(path, ABOUT, [given_[:cut], given_[cut:]]) == len(rows)
    assert same_bits(Bars.concat(list(bar_files.read(path))), given_)
    assert bar_files.read_about(path) == (None if form == "csv" else ABOUT)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_what_a_nan_carries_is_kept(tmp_path: Path, form: str) -> None:
    """A text file has only one way to write it."""
    carried = np.array([0x7FF8000000000001, -1, 0x7FFFFFFFFFFFFFFF], np.int64).view(np.float64)
    bars = Bars(np.arange(3), *[carried] * 5)
    path = tmp_path / f"bars.{form}"
    bar_files.write(path, ABOUT, [bars])
    assert same_bits(Bars.concat(list(bar_files.read(path))), bars)


@pytest.mark.parametrize("form", FORMATS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, form: str) -> None:
    """Two million bars take 96 MB in columns."""
    n, part = 2_000_000, 12_000

    def parts() -> Iterator[Bars]:
        for start in range(0, n, part):
            times = np.arange(start, min(start + part, n)) * MINUTE_MS
            yield Bars(times, *(np.round(times / 7e4 + column, 2) for column in range(5)))

    pool, path = pa.default_memory_pool(), tmp_path / f"bars.{form}"
    bar_files.write(path, ABOUT, [Bars.from_rows([(0, 1, 1, 1, 1, 1)])])
    assert len(list(bar_files.read(path))) == 1  # what is imported once
    before = pool.bytes_allocated()
    tracemalloc.start()
    try:
        most, count = 0, 0
        assert bar_files.write(path, ABOUT, parts()) == n
        for piece in bar_files.read(path):
            count += len(piece)
            most = max(most, pool.bytes_allocated() - before)
        assert count == n
        assert tracemalloc.get_traced_memory()[1] < 24e6
        assert most < (48e6 if form == "csv" else 12e6)  # the reader of texts reads ahead
    finally:
        tracemalloc.stop()


def test_a_file_of_somebody_else_in_one_piece_is_read_in_pieces(tmp_path: Path) -> None:
    many = Bars.from_rows([(minute * MINUTE_MS, 1, 2, 0.5, 1.5, minute) for minute in range(150_000)])
    bar_files.write(tmp_path / "bars.arrow", ABOUT, [many])
    pieces = list(bar_files.read(tmp_path / "bars.arrow"))
    assert max(map(len, pieces)) <= bar_files.PIECE_BARS
    assert same_bits(Bars.concat(pieces), many)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_file_that_was_cut_anywhere_is_malformed(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"bars.{form}"
    bar_files.write(path, ABOUT, [Bars.from_rows([(minute * MINUTE_MS, 1, 2, 0.5, 1.5, 7) for minute in range(50)])])
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(Malformed):
            list(bar_files.read(path))


def test_a_byte_that_changed_in_the_bars_of_a_parquet_file_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "bars.parquet"
    random = np.random.default_rng(1)
    bar_files.write(path, ABOUT, [Bars(np.arange(500) * MINUTE_MS, *random.random((5, 500)))])
    with parquet.ParquetFile(path) as file:
        row_group = file.metadata.row_group(0)
        columns = [row_group.column(number) for number in range(6)]
    whole = path.read_bytes()
    for column in columns:
        wrong = bytearray(whole)
        wrong[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size // 2] ^= 1
        path.write_bytes(wrong)
        with pytest.raises(Malformed):
            list(bar_files.read(path))


@pytest.mark.parametrize("form", FORMATS)
def test_a_large_file_is_read_in_pieces(tmp_path: Path, form: str) -> None:
    many = Bars.from_rows([(minute * MINUTE_MS, 1, 2, 0.5, 1.5, minute) for minute in range(150_000)])
    path = tmp_path / f"bars.{form}"
    bar_files.write(path, ABOUT, [many[start : start + 10_000] for start in range(0, 150_000, 10_000)])
    pieces = list(bar_files.read(path))
    assert len(pieces) > 1
    assert max(map(len, pieces)) <= bar_files.PIECE_BARS
    assert same_bits(Bars.concat(pieces), many)


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_that_fails_leaves_the_file_that_was_there(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"bars.{form}"
    one = Bars.from_rows([(0, 1, 1, 1, 1, 1)])
    bar_files.write(path, ABOUT, [one])

    def failing() -> object:
        yield one
        raise Unavailable("The store is away.")

    with pytest.raises(Unavailable):
        bar_files.write(path, ABOUT, failing())  # type: ignore[arg-type]
    assert same_bits(Bars.concat(list(bar_files.read(path))), one)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("content", [b"", b"\x00\x01 no bars", b"a,b\n1,2\n"])
def test_what_holds_no_bars_is_malformed(tmp_path: Path, form: str, content: bytes) -> None:
    path = tmp_path / f"bars.{form}"
    path.write_bytes(content)
    with pytest.raises(Malformed, match=r"does not hold bars|has no column"):
        list(bar_files.read(path))


def test_an_unknown_suffix_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"bars.txt must end with .csv, .parquet, .arrow."):
        bar_files.write(tmp_path / "bars.txt", ABOUT, [])
    with pytest.raises(Rejected, match="There is no file or folder"):
        list(bar_files.read(tmp_path / "none.csv"))
    with pytest.raises(Rejected, match="There is no file or folder"):
        bar_files.write(tmp_path / "none" / "bars.csv", ABOUT, [])
