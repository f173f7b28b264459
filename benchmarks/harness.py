"""Measures ours against peers in turn, and tells what came out: a table on the terminal and a file of figures."""

import json
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

Act = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number beside a peer's of the same run. `goal` is of the ratio ours / peer, or where there is no
    peer of our own value: "<= 0.5", ">= 1.3". Without one it is told for information."""

    figure: str
    ours: float
    unit: str
    peer: str = ""
    peer_value: float | None = None
    goal: str = ""
    runs: int = 1

    @property
    def ratio(self) -> float | None:
        return self.ours / self.peer_value if self.peer_value else None

    @property
    def met(self) -> bool | None:
        if not self.goal:
            return None
        relation, limit = self.goal.split()
        value = self.ours if self.ratio is None else self.ratio
        return value <= float(limit) if relation == "<=" else value >= float(limit)


@dataclass(slots=True)
class Report:
    """The figures of one benchmark, printed as they come and written in the end."""

    name: str
    figures: list[Figure] = field(default_factory=list)

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)
        Console().print(f"[dim]{figure.figure}: {_number(figure.ours)} {figure.unit}[/dim]", highlight=False)

    def finish(self, write: bool = True) -> bool:
        """Whether each goal was met; a part of the figures does not replace the file of all."""
        self._print()
        if write:
            self._write()
        return all(one.met is not False for one in self.figures)

    def _write(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        rows = [asdict(one) | {"ratio": one.ratio, "met": one.met} for one in self.figures]
        order = ("figure", "ours", "unit", "peer", "peer_value", "ratio", "goal", "met", "runs")
        lines = (json.dumps({name: _rounded(row[name]) for name in order}) for row in rows)
        (RESULTS / f"{self.name}.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")

    def _print(self) -> None:
        table = Table(title=f"{self.name}: medians of alternated runs", box=box.MARKDOWN)
        for name in ("figure", "ours", "unit", "peer", "its value", "ratio", "goal", "met", "runs"):
            right = name in ("ours", "its value", "ratio", "runs")
            table.add_column(name, justify="right" if right else "left", no_wrap=True)
        for one in self.figures:
            met = "" if one.met is None else "yes" if one.met else "NO"
            table.add_row(
                one.figure, _number(one.ours), one.unit, one.peer, _number(one.peer_value), _number(one.ratio),
                one.goal, met, str(one.runs),
            )  # fmt: skip
        Console(width=220).print(table)


def alternate(
    sides: Mapping[str, Act], runs: int, *, between: Act | None = None, settle: Act | None = None, warm: int = 1
) -> dict[str, float]:
    """Median seconds of each side over so many rounds; each round runs all of them, in an order drawn anew.

    `between` comes before each round, `settle` before each run, and neither is timed; the first `warm` rounds do not
    count.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    order = random.Random(1)
    for number in range(warm + runs):
        if between:
            between()
        for name in order.sample(list(sides), len(sides)):
            if settle:
                settle()
            began = time.perf_counter()
            sides[name]()
            if number >= warm:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
