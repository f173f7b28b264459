"""A process of its own that writes, pushes and folds one series: `python -m tests.persistence.rival SEED ROUNDS`.

Prints `page START N` (stored, then noted as covered) or `push START N` when that is acknowledged; bar i of the series
always has the same values. A series that was replaced meanwhile is looked up again, as pulls and backfills do.
"""

import sys

import django
import numpy as np

from infrastructure.bars import Bars

START = 1_704_067_200_000
MINUTE = 60_000
BARS = 21_000  # over three chunks
SYMBOL = "RACE:RACE"


def all_bars() -> Bars:
    random = np.random.default_rng(7)
    prices = 100 + random.integers(-500, 500, (4, BARS)) / 100
    return Bars(START + MINUTE * np.arange(BARS), *prices, random.integers(0, 1000, BARS).astype(float))


def main(seed: int, rounds: int) -> None:
    django.setup()
    from infrastructure.intervals import INTERVALS
    from infrastructure.persistence import BarStore, CoverageStore, Database, Replaced

    store, coverage = BarStore(Database()), CoverageStore(Database())
    bars = all_bars()
    random = np.random.default_rng(seed)
    for _ in range(rounds):
        series = store.series(SYMBOL, INTERVALS["1m"], bars_per_week=10_080)
        start = int(random.integers(0, BARS))
        kind = random.random()
        if kind < 0.5:
            part = bars[start : start + int(random.integers(1, 4000))]
            try:
                store.write(series, part)
            except Replaced:
                continue
            coverage.add(series, [(int(part.time_ms[0]), int(part.time_ms[-1]) + MINUTE)])
            print("page", start, len(part), flush=True)
        elif kind < 0.9:
            part = bars[start : start + int(random.integers(1, 5))]
            store.push([(series, bar) for bar in part])
            print("push", start, len(part), flush=True)
        else:
            store.fold(series)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
