"""Figure 2.21: what a backfill takes as its range and its number of series grow, as figures and as a picture."""

from pathlib import Path

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

Wish = tuple[int, list[str]]  # bars of each of these symbols
Costs = dict[float, dict[str, float]]


def measure(report: Report, folder: Path) -> None:
    names = [item.name for item in synthetic(SERIES[-1])]
    ranges: dict[float, Wish] = {years: (round(years * YEAR), [COIN]) for years in YEARS}
    numbers: dict[float, Wish] = {count: (EACH, names[:count]) for count in SERIES}
    with exchange(delay_s=0, page=PAGE, symbols=SERIES[-1]) as source:
        by_years, by_series = _costs(source, ranges), _costs(source, numbers)
    _tell(report, "years of one series", by_years, ranges)
    _tell(report, f"series of {EACH:,} bars", by_series, numbers)
    panels = [("years of minutes of one series", by_years), (f"series of {EACH:,} minutes", by_series)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "history-growth.svg").write_text(plot.svg(panels))


def _costs(source: Exchange, wishes: dict[float, Wish]) -> Costs:
    """The largest comes first and once more: the exchange then has the texts of all of them."""
    largest = max(wishes)
    costs = {}
    for size in (largest, *wishes):
        bars, symbols = wishes[size]
        costs[size] = run("ours", source, PAGE, bars, AT_ONCE, symbols)
    return dict(sorted(costs.items()))


def _tell(report: Report, what: str, costs: Costs, wishes: dict[float, Wish]) -> None:
    small, large = min(costs), max(costs)
    for size, cost in costs.items():
        report.add(Figure(f"2.21 {size:g} {what}", cost["wall_s"], "s"))
        report.add(Figure(f"2.21 {size:g} {what}, memory taken", cost["grown_mb"], "MB"))

    def per_bar(size: float) -> float:
        bars, symbols = wishes[size]
        return costs[size]["wall_s"] / bars / len(symbols) * 1e6

    beside = f"{small:g} {what}"
    figure = f"2.21 {large:g} {what}"
    report.add(Figure(f"{figure}, a bar's time", per_bar(large), "µs", beside, per_bar(small), "<= 1.25"))
    memory = (costs[size]["grown_mb"] for size in (large, small))
    report.add(Figure(f"{figure}, memory taken", next(memory), "MB", beside, next(memory), "<= 1.25"))
