"""What `manage.py backfill` finds wrong in stored bars: `--verify` tells it, `--force` corrects it."""

from typing import Any

from infrastructure.bars import Bars
from infrastructure.persistence import BarStore, CoverageStore, Database
from infrastructure.simulator import SimulatorServer
from tests.history.backfilling import COIN, SHARE, backfill, everything, failing, requests, series_of, stored


def test_verify_finds_what_differs_and_writes_nothing(
    known: None, source: SimulatorServer, bars: BarStore, settings: Any
) -> None:
    backfill(SHARE, COIN, "--bars", "12000")
    assert "12,000 │       0 │     0 │         0 │" in backfill(SHARE, "--bars", "12000", "--verify")
    series, true = stored(bars, SHARE)
    spoilt = [list(row) for row in zip(*(column[[5, 3000]].tolist() for column in true.columns), strict=True)]
    spoilt[0][4] += 0.01
    spoilt[1][0] -= 60_000 * 60 * 6  # in the night
    bars.write(series, Bars.from_rows(spoilt))
    newest = Database().collection("bar_chunk").find_one_and_delete({"series": series.id}, sort=[("_id", -1)])
    lost = true.between(newest["start_ms"], None)
    before = everything()
    error, (share, coin) = failing(SHARE, COIN, "--bars", "12000", "--verify")
    assert everything() == before
    assert (error.returncode, str(error)) == (3, "1 of 2 series differ from the source.")
    counts = {name: share[name] for name in ("bars", "missing", "extra", "differing", "error")}
    assert counts == {"bars": 12_000, "missing": len(lost), "extra": 1, "differing": 1, "error": None}
    assert [one["kind"] for one in share["differences"]] == ["missing"] * 20
    assert share["differences"][0]["source"] == [float(column[-1]) for column in true.columns[1:]]
    assert coin == {
        "symbol": COIN, "interval": "1m", "bars": 12_000, "missing": 0, "extra": 0, "differing": 0,
        "differences": [], "error": None,
    }  # fmt: skip


def test_verify_lists_each_difference_with_both_values(known: None, source: SimulatorServer, bars: BarStore) -> None:
    backfill(SHARE, "--from", "2026-11-17", "--to", "2026-11-17")
    series, true = stored(bars, SHARE)
    rows = [list(row) for row in zip(*(column[[5]].tolist() for column in true.columns), strict=True)]
    changed, extra = [*rows[0][:4], rows[0][4] + 1.0, rows[0][5]], [rows[0][0] - 3 * 3_600_000, *rows[0][1:]]
    bars.write(series, Bars.from_rows([changed, extra]))
    _, (found,) = failing(SHARE, "--from", "2026-11-17", "--to", "2026-11-17", "--verify")
    assert found["differences"] == [
        {"kind": "differing", "time": "2026-11-17T14:35:00Z", "stored": changed[1:], "source": rows[0][1:]},
        {"kind": "extra", "time": "2026-11-17T11:35:00Z", "stored": extra[1:], "source": None},
    ]


def test_nothing_stored_is_all_missing(known: None, bars: BarStore) -> None:
    _, (found,) = failing(COIN, "--interval", "1h", "--bars", "30", "--verify")
    assert (found["bars"], found["missing"], found["extra"]) == (30, 30, 0)
    assert not bars.all_series()


def test_force_asks_for_what_is_there_and_corrects_it(known: None, source: SimulatorServer, bars: BarStore) -> None:
    backfill(COIN, "--bars", "12000")
    series, true = stored(bars, COIN)
    wrong = [list(row) for row in zip(*(column[[100]].tolist() for column in true.columns), strict=True)]
    wrong[0][5] += 1
    bars.write(series, Bars.from_rows(wrong))
    covered = CoverageStore(Database()).of(series)
    before = requests()
    (row,) = series_of(COIN, "--from", "2026-11-12", "--to", "2026-11-18", "--force")
    assert (row["received"], row["new"], row["corrected"]) == (7 * 1440, 0, 0)  # it lies before them
    (row,) = series_of(COIN, "--bars", "12000", "--force")
    assert (row["received"], row["new"], row["corrected"]) == (12_000, 0, 1)
    assert requests() - before == 2 + (3 + 3)
    assert stored(bars, COIN)[1].same_as(true)
    assert CoverageStore(Database()).of(series).ranges == covered.ranges
