"""Figure 2.19: twenty series at once over the wire, ours stored and checked, the peers' only held in memory.

Twice: in one answer of 20,000 bars, which is all that two of the peers can ask for, and for information in pages of
5,000, whose four delays alone last a second.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.harness import Figure, Report
from benchmarks.history.clients import Summary, summary
from benchmarks.history.data import MINUTE, UNTIL_MS
from benchmarks.history.exchange import Exchange, exchange
from infrastructure.simulator.catalogue import synthetic
from infrastructure.simulator.market import Market

SERIES, BARS, DELAY_S, RUNS = 20, 20_000, 0.25, 9
PEERS = ("tvkit", "tradingview-sdk", "tvdatafeed-enhanced")
DEADLINE_S = 300
TRIES = 3  # a client may give up on a busy machine; what failed is told and not counted


def measure(report: Report, folder: Path) -> None:
    symbols = [item.name for item in synthetic(SERIES)]
    truth = _truth(symbols)
    for page, peers in ((BARS, PEERS), (5000, ("tradingview-sdk",))):
        with exchange(delay_s=DELAY_S, page=page, symbols=SERIES) as source:
            results = _alternated(("ours", *peers), source, page, symbols, truth)
        where = f"{SERIES} × {BARS:,} bars, pages of {page:,}"
        wall = {name: one["wall_s"] for name, one in results.items()}
        has_goal = page == BARS
        _figure(report, f"2.19 wall time, {where}", "s", wall, "1/3" if has_goal else "")
        per_bar = {name: one["cpu_s"] / SERIES / BARS * 1e6 for name, one in results.items()}
        _figure(report, f"2.19 client CPU, {where}", "µs/bar", per_bar, "1/4" if has_goal else "")


def _figure(report: Report, figure: str, unit: str, values: dict[str, float], share: str) -> None:
    """Beside each peer; a goal is set beside the best of them."""
    peers = sorted((name for name in values if name != "ours"), key=values.__getitem__)
    for peer in peers:
        goal = f"<= {1 / int(share[2:]):.4f}" if share and peer == peers[0] else ""
        report.add(Figure(figure, values["ours"], unit, peer, values[peer], goal, RUNS))


def _alternated(
    names: tuple[str, ...], source: Exchange, page: int, symbols: list[str], truth: dict[str, dict[str, Summary]]
) -> dict[str, dict[str, float]]:
    """Medians by client. The first round has the exchange make its texts, and does not count."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(RUNS + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            result = run(name, source, page, BARS, SERIES, symbols)
            expected = truth["ours" if name == "ours" else "peers"]
            if {symbol: tuple(found) for symbol, found in result.pop("got").items()} != expected:
                raise AssertionError(f"{name} did not get the right bars.")
            if number:
                taken[name].append(result)
    return {name: {key: median(run[key] for run in runs) for key in runs[0]} for name, runs in taken.items()}


def run(name: str, source: Exchange, page: int, bars: int, at_once: int, symbols: list[str]) -> dict[str, Any]:
    """What `clients` tells of that one."""
    command = [sys.executable, "-m", "benchmarks.history.clients", name, str(bars), str(at_once), *symbols]
    addresses = {"EXCHANGE_WEBSOCKET": source.websocket_url, "EXCHANGE_HTTP": source.http_url}
    environment = {**os.environ, **addresses, "TRADINGVIEW_PAGE_BARS": str(page), "LOG_LEVEL": "WARNING"}
    for _ in range(TRIES):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
        if not done.returncode:
            result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return result
        print(f"{name} failed: {done.stderr.splitlines()[-1:]}")
    raise RuntimeError(f"{name} failed {TRIES} times: {done.stderr[-2000:]}")


def _truth(symbols: list[str]) -> dict[str, dict[str, Summary]]:
    """What the market's model says; the peers also get the bar that is being made."""
    market = Market(1, synthetic(SERIES))
    closed = {symbol: market.last(symbol, MINUTE, BARS - 1, UNTIL_MS) for symbol in symbols}
    ours = {symbol: summary(bars.time_ms // 1000, bars.close.tolist()) for symbol, bars in closed.items()}
    peers = {}
    for symbol, bars in closed.items():
        forming = market.history(symbol, MINUTE, 1, UNTIL_MS + 30_000)
        times = np.append(bars.time_ms, forming.time_ms) // 1000
        peers[symbol] = summary(times, [*bars.close.tolist(), *forming.close.tolist()])
    return {"ours": ours, "peers": peers}
