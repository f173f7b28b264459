"""Figure 2.21: what a backfill takes as its range and its number of series grow, as figures and as a picture."""

from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.harness import RESULTS, Figure, Report
from benchmarks.history import plot
from benchmarks.history.backfill import run
from benchmarks.history.data import COIN
from benchmarks.history.exchange import Exchange, exchange
from infrastructure.simulator.catalogue import synthetic

PAGE = 5000
YEAR = 525_960  # minutes
YEARS = (0.5, 1, 1.5, 2)
SERIES, EACH, AT_ONCE = (4, 8, 12, 16), 50_000, 4
LENGTHS = (20_000, 200_000, 1_000_000)  # bars of one series, for the memory alone
RUNS = 3

Wish = tuple[int, list[str]]  # bars of each of these symbols
Costs = dict[float, dict[str, float]]


def measure(report: Report, folder: Path) -> None:
    names = [item.name for item in synthetic(SERIES[-1])]
    ranges: dict[float, Wish] = {years: (round(years * YEAR), [COIN]) for years in YEARS}
    numbers: dict[float, Wish] = {count: (EACH, names[:count]) for count in SERIES}
    with exchange(delay_s=0, page=PAGE, symbols=SERIES[-1]) as source:
        by_years, by_series = _costs(source, ranges), _costs(source, numbers)
        by_length = _costs(source, {length: (length, [COIN]) for length in LENGTHS})
    _tell_memory(report, by_length)
    _tell(report, "years of one series", by_years, ranges)
    _tell(report, f"series of {EACH:,} bars", by_series, numbers)
    panels = [("years of minutes of one series", by_years), (f"series of {EACH:,} minutes", by_series)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "history-growth.svg").write_text(plot.svg(panels))


def _costs(source: Exchange, wishes: dict[float, Wish]) -> Costs:
    """Medians by size. The largest comes first and does not count: the exchange then has the texts of all of them."""

    def cost(size: float) -> dict[str, float]:
        bars, symbols = wishes[size]
        return run("ours", source, PAGE, bars, AT_ONCE, symbols)

    cost(max(wishes))
    taken = [{size: cost(size) for size in wishes} for _ in range(RUNS)]
    names = ("wall_s", "grown_mb")
    return {size: {name: median(one[size][name] for one in taken) for name in names} for size in wishes}


def _tell_memory(report: Report, costs: Costs) -> None:
    """Beside the one before: the shortest has not yet filled a chunk of bars more than once."""
    for length, cost in costs.items():
        report.add(Figure(f"2.21 {length:,} bars of one series, memory taken", cost["grown_mb"], "MB", runs=RUNS))
    *_, before, longest = LENGTHS
    figure, beside = f"2.21 {longest:,} bars of one series, memory taken", f"{before:,} bars"
    values = (costs[length]["grown_mb"] for length in (longest, before))
    report.add(Figure(figure, next(values), "MB", beside, next(values), "<= 1.25", RUNS))


def _tell(report: Report, what: str, costs: Costs, wishes: dict[float, Wish]) -> None:
    small, large = min(costs), max(costs)
    for size, cost in costs.items():
        report.add(Figure(f"2.21 {size:g} {what}", cost["wall_s"], "s", runs=RUNS))
        report.add(Figure(f"2.21 {size:g} {what}, memory taken", cost["grown_mb"], "MB", runs=RUNS))

    def per_bar(size: float) -> float:
        bars, symbols = wishes[size]
        return costs[size]["wall_s"] / bars / len(symbols) * 1e6

    beside = f"{small:g} {what}"
    figure = f"2.21 {large:g} {what}"
    report.add(Figure(f"{figure}, a bar's time", per_bar(large), "µs", beside, per_bar(small), "<= 1.25", RUNS))
    memory = (costs[size]["grown_mb"] for size in (large, small))
    report.add(Figure(f"{figure}, memory taken", next(memory), "MB", beside, next(memory), "<= 1.25", RUNS))
    off = _off_a_straight_line({size: cost["wall_s"] for size, cost in costs.items()})
    report.add(Figure(f"2.21 time over {what}, farthest off a straight line", off, "%", goal="<= 10", runs=RUNS))


def _off_a_straight_line(seconds: dict[float, float]) -> float:
    """The largest distance from the line of least squares, in percent of the longest time."""
    sizes, times = np.array(list(seconds)), np.array(list(seconds.values()))
    line = np.polynomial.Polynomial.fit(sizes, times, 1)
    return float(np.abs(line(sizes) - times).max() / times.max() * 100)
