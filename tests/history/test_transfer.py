import tracemalloc
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from infrastructure import bar_files
from infrastructure.bar_files import About
from infrastructure.bars import Bars
from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, CoverageStore, Database, Series
from infrastructure.persistence.bar_documents import EARLIEST_MS, LATEST_MS
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import IDataProvider
from marketdata.models import BackfillJob, Finding
from marketdata.services import backfill, transfer
from tests.history.jobs import start_here
from tests.persistence.bits import same_bits
from tests.platform.conftest import NOW_MS, add_symbol

COIN, SHARE, INDEX = "BINANCE:BTCUSDT", "NASDAQ:AAPL", "SP:SPX"
MINUTE = INTERVALS["1m"]
FORMATS = ("csv", "parquet", "arrow")
ABOUT = About(COIN, "1m", covered=[(1, 2), (5, 9)])
THIS_MINUTE = NOW_MS - NOW_MS % MINUTE_MS
number = st.floats(allow_nan=False, allow_infinity=False, width=64)
odd = st.sampled_from([0.1 + 0.2, -0.0, 5e-324, 1e300, float("inf"), float("nan"), 2**53 + 1.0, 2.0**31 * 100 + 0.01])
moment = st.integers(EARLIEST_MS, LATEST_MS)
rows = st.lists(st.tuples(moment, *[number | odd] * 5), max_size=30)


# --- Files ---


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


# --- Commands ---


def manage(*arguments: object) -> str:
    out = StringIO()
    call_command(*map(str, arguments), stdout=out)
    return out.getvalue()


def series_of(store: BarStore, key: str) -> Series:
    series = store.find(key, MINUTE)
    assert series is not None
    return series


@pytest.fixture
def filled(provider: IDataProvider, source: SimulatorServer, bars: BarStore) -> BarStore:
    for key in (COIN, SHARE, INDEX):
        add_symbol(provider, key)
        job = BackfillJob(symbol=key, interval="1m", bars=3000)
        start_here(job)
        backfill.run(job, provider, bars, now_ms=NOW_MS)
    return bars


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_imported_elsewhere_is_the_same_and_again_changes_nothing(
    filled: BarStore, tmp_path: Path, form: str
) -> None:
    true = {key: filled.read(series_of(filled, key)) for key in (COIN, SHARE, INDEX)}
    covered = {key: CoverageStore(Database()).of(series_of(filled, key)).ranges for key in true}
    for key in true:
        said = manage("exportbars", key, tmp_path / f"{key[:4]}.{form}")
        assert said == f"{key} 1m: 3,000 bars written to {tmp_path}/{key[:4]}.{form}\n"
    for name in ("bar_chunk", "bar_series", "bar_coverage"):
        Database().collection(name).delete_many({})
    for key, bars in true.items():
        options = ("--symbol", key, "--interval", "1m") if form == "csv" else ()
        file = tmp_path / f"{key[:4]}.{form}"
        assert manage("importbars", file, *options) == (
            f"{file.name}: 3,000 bars, 3,000 new, 0 corrected, 0 set aside\n"
        )
        assert same_bits(filled.read(series_of(filled, key)), bars)
        chunks = list(Database().collection("bar_chunk").find())
        assert "0 new, 0 corrected, 0 set aside" in manage("importbars", file, *options)
        assert list(Database().collection("bar_chunk").find()) == chunks
        known = CoverageStore(Database()).of(series_of(filled, key)).ranges
        assert known == (() if form == "csv" else covered[key])


def test_a_part_of_a_series_can_be_exported(filled: BarStore, tmp_path: Path) -> None:
    manage("exportbars", COIN, tmp_path / "day.csv", "--from", "2026-11-19T10:00", "--to", "2026-11-19T11:00")
    part = Bars.concat(list(bar_files.read(tmp_path / "day.csv")))
    hour = THIS_MINUTE - THIS_MINUTE % (60 * MINUTE_MS) - 8 * 60 * MINUTE_MS
    assert same_bits(part, filled.read(series_of(filled, COIN), hour, hour + 60 * MINUTE_MS))
    assert len(part) == 60


def test_bars_of_a_file_that_cannot_be_true_are_set_aside(filled: BarStore, tmp_path: Path) -> None:
    lines = ["time,open,high,low,close,volume"]
    lines += [f"2026-10-05 14:{minute}:00Z,10,11,9,10,5" for minute in (31, 30, 32)]
    lines += [
        "2026-10-05 14:33:00Z,10,9,9,10,5",
        "2999-01-01 00:00:00Z,10,11,9,10,5",
        "2026-10-05T14:34:00Z,10,11,9,10,",
    ]
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(lines) + "\n")
    said = manage("importbars", path, "--symbol", SHARE, "--interval", "1m")
    assert said == "bars.csv: 6 bars, 3 new, 0 corrected, 3 set aside\n"
    assert sorted(row.reason for row in Finding.objects.all()) == [
        "it opens in the future",
        "its high is below its open, low or close",
        "its time is not after that of the bar before it",
    ]
    assert np.isnan(filled.read(series_of(filled, SHARE)).volume[2])


def test_of_a_file_that_cannot_be_read_to_its_end_nothing_is_taken_in(filled: BarStore, tmp_path: Path) -> None:
    lines = [f"2020-10-{day:02} {hour:02}:{minute:02}:00Z,10,11,9,10,5"
             for day in range(1, 29) for hour in range(24) for minute in range(60)]  # fmt: skip
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(["time,open,high,low,close,volume", *lines, "2020-10-29 00:00:00Z,10,11,9,ten,5", ""]))
    assert len(next(iter(bar_files.read(path)))) > 10_000  # it is read in pieces
    before = list(Database().collection("bar_chunk").find())
    with pytest.raises(CommandError, match=r"^bars.csv does not hold bars: .*ten"):
        manage("importbars", path, "--symbol", COIN, "--interval", "1m")
    assert list(Database().collection("bar_chunk").find()) == before


def test_the_forming_bar_of_a_file_is_set_aside(filled: BarStore, tmp_path: Path) -> None:
    now_ms = Database().now_ms()
    hour = now_ms - now_ms % (60 * MINUTE_MS)
    given = Bars.from_rows([(hour - 3_600_000, 1, 1, 1, 1, 1), (hour, 2, 2, 2, 2, 2)])
    bar_files.write(tmp_path / "bars.arrow", About(COIN, "1h", covered=[(hour - 3_600_000, hour + DAY_MS)]), [given])
    done = transfer.take_in(filled, tmp_path / "bars.arrow", hour + 3_599_000)
    assert (done.aside, done.written.new) == (1, 1)
    series = filled.find(COIN, INTERVALS["1h"])
    assert series is not None
    assert list(filled.read(series)) == list(given[:1])
    assert [row.reason for row in Finding.objects.all()] == ["it has not closed yet"]
    assert CoverageStore(Database()).of(series).ranges == ()  # the bar that was set aside may be known to the source
    assert transfer.take_in(filled, tmp_path / "bars.arrow", hour + 3_600_000).aside == 0
    assert CoverageStore(Database()).of(series).ranges == ((hour - 3_600_000, hour + 3_600_000),)  # not the future


def test_order_is_checked_across_the_pieces_of_a_file(
    filled: BarStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar_files, "PIECE_BARS", 2)
    start = THIS_MINUTE - 10_000 * MINUTE_MS
    wrong = Bars.from_rows([(start + step * MINUTE_MS, 1, 1, 1, 1, 1) for step in (5, 6, 3, 7)])
    bar_files.write(tmp_path / "bars.parquet", About(COIN, "1m"), [wrong])
    assert "4 bars, 3 new, 0 corrected, 1 set aside" in manage("importbars", tmp_path / "bars.parquet")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("exportbars", COIN, "x.xlsx"), "x.xlsx must end with .csv, .parquet, .arrow."),
        (("exportbars", COIN, "x.csv", "--interval", "1h"), "There are no 1h bars of BINANCE:BTCUSDT."),
        (("importbars", "bars.csv"), "bars.csv does not say what it holds: name the symbol and the interval."),
        (
            ("importbars", "bars.csv", "--symbol", "A:B", "--interval", "1m"),
            "There is no symbol A:B on this platform.",
        ),
        (("importbars", "bars.arrow", "--symbol", SHARE), "bars.arrow holds 1m bars of BINANCE:BTCUSDT."),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    filled: BarStore, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    for form in ("csv", "arrow"):
        bar_files.write(tmp_path / f"bars.{form}", ABOUT, [])
    placed = [str(tmp_path / one) if one.startswith(("bars.", "x.")) else one for one in arguments]
    with pytest.raises(CommandError) as refused:
        manage(*placed)
    assert str(refused.value) == sentence
