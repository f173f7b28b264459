"""What every figure of the run works with, and the small arithmetic of windows."""

import contextlib
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Figure, Report
from benchmarks.live import site
from benchmarks.live.load import Crowd
from benchmarks.live.site import Servers, Site, Window

RUNS = 3
WINDOW_S = 2.0
FLUSH_MS = 50  # the platform's default


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are compared: a server, the feed it understands, and what it is offered."""

    servers: Servers
    crowd: Crowd
    ticks_per_s: float
    feed: str = "blocks"


@dataclass(frozen=True, slots=True)
class Bench:
    program: Path
    folder: Path
    report: Report

    @contextlib.contextmanager
    def site(self, servers: Servers, crowd: Crowd, feed: str = "blocks", ports: int = 1) -> Iterator[Site]:
        with site.site(self.program, self.folder, servers, crowd, feed, ports) as up:
            yield up

    def tell(
        self, figure: str, ours: float, unit: str, *, peer: str = "", value: float | None = None, goal: str = "",
        runs: int = RUNS,
    ) -> None:  # fmt: skip
        self.report.add(Figure(figure, ours, unit, peer, value, goal, runs))

    def compare(self, sides: Mapping[str, Side], runs: int = RUNS) -> dict[str, list[Window]]:
        """Windows of each side; each round runs all of them, in an order drawn anew, one at a time."""
        windows: dict[str, list[Window]] = {name: [] for name in sides}
        order = random.Random(1)
        with contextlib.ExitStack() as stack:
            up = {
                name: stack.enter_context(self.site(side.servers, side.crowd, side.feed))
                for name, side in sides.items()
            }
            for _ in range(runs):
                for name in order.sample(list(sides), len(sides)):
                    windows[name].append(up[name].window(sides[name].ticks_per_s, WINDOW_S))
                    up[name].calm()
        return windows


def median(windows: Sequence[Window], of: Callable[[Window], float]) -> float:
    return statistics.median(map(of, windows))
