from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from infrastructure import bar_files
from infrastructure.bar_files import About
from infrastructure.bars import Bars
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, CoverageStore, Database, Series
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
