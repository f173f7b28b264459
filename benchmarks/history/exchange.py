"""The simulator in a process of its own, for clients that are measured: it stands at one moment, and makes the text of
an answer once, so that it costs the machine little while they work.

    python -m benchmarks.history.exchange --delay 0.25 --page 5000 --symbols 20
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.history.data import UNTIL_MS
from infrastructure.bars import Bars
from infrastructure.simulator import SimulatorServer, StandingClock, wire

NOW_MS = UNTIL_MS + 30_000
ENDLESS = 10_000_000
START_S = 60


@dataclass(frozen=True, slots=True)
class Exchange:
    websocket_url: str
    http_url: str


@contextmanager
def exchange(*, delay_s: float, page: int, symbols: int) -> Iterator[Exchange]:
    """A running one."""
    options = ("--delay", str(delay_s), "--page", str(page), "--symbols", str(symbols))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.history.exchange", *options],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        if process.stdout is None:
            raise RuntimeError("the exchange has no output")
        yield Exchange(**json.loads(process.stdout.readline()))
    finally:
        process.communicate(timeout=START_S)  # its input ends, and so does it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, required=True)
    parser.add_argument("--page", type=int, required=True)
    parser.add_argument("--symbols", type=int, required=True)
    wanted = parser.parse_args()
    _render_once()
    with SimulatorServer(
        seed=1, clock=StandingClock(NOW_MS), synthetic_symbols=wanted.symbols, check_origin=False,
        answer_delay_s=wanted.delay, anonymous_page=wanted.page, anonymous_depth=ENDLESS,
    ) as server:  # fmt: skip
        print(json.dumps({"websocket_url": server.websocket_url, "http_url": server.http_url}), flush=True)
        sys.stdin.read()


def _render_once() -> None:
    """The two long parts of an answer are kept as text; whoever asks for the same bars gets a copy of that."""
    make_rows, make_scale = wire.rows, wire.timescale
    kept_rows: dict[Any, msgspec.Raw] = {}
    kept_scales: dict[Any, dict[str, Any]] = {}

    def rows(bars: Bars, first: int, has_volume: bool) -> Any:
        key = (first, has_volume, len(bars), *bars[:1], *bars[-1:])  # clients are checked for having the right ones
        if key not in kept_rows:
            kept_rows[key] = _text(make_rows(bars, first, has_volume))
        return kept_rows[key]

    def timescale(item: Any, interval: Any, times: NDArray[np.int64], first: int, zero: int) -> dict[str, Any]:
        key = (item.timezone, interval.name, first, zero, len(times), int(times[0]), int(times[-1]))
        if key not in kept_scales:
            scale = make_scale(item, interval, times, first, zero)
            kept_scales[key] = {name: _text(part) if isinstance(part, list) else part for name, part in scale.items()}
        return dict(kept_scales[key])

    wire.rows, wire.timescale = rows, timescale


def _text(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


if __name__ == "__main__":
    main()
