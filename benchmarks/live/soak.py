"""3.23, by hand: an hour at half load, and whether the memory of the feed and of the web process grows.

`make bench-live ARGS=soak`, or `python -m benchmarks.live.soak --minutes 60`: the simulator plays a market, the real
`runfeed` streams and stores it, the real web process hands it to browsers that stay, to one that watches charts, and to
visitors who come and go. The log of closed bars is full from the beginning, as after days: filling it is no leak.
"""

import argparse
import itertools
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from benchmarks.harness import RESULTS, Figure, Report
from benchmarks.servers import platform
from infrastructure.embedded.ports import find_free

SYMBOLS = 200  # each trades once a second
NAMES = [f"TEST:SYM{number:04}" for number in range(1, SYMBOLS + 1)]
CHARTS = 20
VISIT_S = 0.5
SAMPLE_S = 5.0
KIB, MIB = 1024, 1024**2
#: KiB a minute, a good MiB an hour: what a heap may breathe.
SLOPE = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """`warm`: minutes that do not count, while caches fill. `speed` 1 is 200 ticks a second."""

    minutes: float
    warm: float
    browsers: int
    speed: float


@dataclass(frozen=True, slots=True)
class Sample:
    minute: float
    feed: int
    web: int


def main(words: Sequence[str]) -> bool:
    """Whether each goal was met."""
    parser = argparse.ArgumentParser(prog="benchmarks.live.soak")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--warm", type=float, default=20, help="minutes that do not count, while caches fill")
    parser.add_argument("--browsers", type=int, default=1000)
    parser.add_argument("--speed", type=float, default=5, help="of the market; 1 = 200 ticks a second")
    plan = Plan(**vars(parser.parse_args(words)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with platform() as folder:
        return soak(plan, folder)


def soak(plan: Plan, folder: Path) -> bool:
    # Django is set up only now, and all of these need it.
    from benchmarks.live.load import Browsers, Crowd, build
    from benchmarks.live.site import ours, python, served, until
    from marketdata.models import Symbol

    Symbol.objects.bulk_create(Symbol(key=name) for name in NAMES)
    program, logs, port = build(folder), folder / "logs", find_free()
    logs.mkdir()
    with served(logs, ours(core=None)) as up:
        words = ("simulator", "--port", port, "--symbols", SYMBOLS, "--speed", plan.speed)
        up.children.start(*python("manage", *words), core=None)
        until(lambda: listens(port))
        fill_log(up.redis_url)
        feed = up.children.start(*python("manage", "runfeed"), core=None, REDIS_URL=up.redis_url, **source(port))
        crowd = Crowd(plan.browsers, symbols=SYMBOLS, prefix="TEST:SYM", first=1)
        browsers = Browsers(up.children, program, up.ports, crowd)
        with visitors(up.ports[0]) as visits:
            browsers.reset()
            samples = sampled(plan, lambda: (feed.memory_bytes, up.servers[0].memory_bytes))
            heard = browsers.report()
    report = Report("live-soak")
    for name in ("feed", "web"):
        tell_growth(report, name, [one for one in samples if one.minute >= plan.warm])
    report.add(Figure("3.23 values delivered a second", heard["values"] / heard["seconds"], "1/s"))
    report.add(Figure("3.23 age on arrival, p99", heard["p99_ms"], "ms"))
    report.add(Figure("3.23 visits", visits.count, ""))
    report.add(Figure("3.23 browsers lost", heard["dead"], "", goal="<= 0"))
    return report.finish()


def fill_log(url: str) -> None:
    """With bars as long as those that take their places: the last ones of the market, as by a feed before this one."""
    from infrastructure.intervals import INTERVALS, MINUTE_MS
    from infrastructure.persistence.closed_log import LOG_LENGTH
    from infrastructure.persistence.live import LiveCache
    from infrastructure.simulator.catalogue import synthetic
    from infrastructure.simulator.market import Market
    from marketdata.live import blocks, protocol

    cache, market, interval = LiveCache(url), Market(instruments=synthetic(SYMBOLS)), INTERVALS["1m"]
    now_ms = time.time_ns() // 1_000_000
    end_ms = now_ms - now_ms % MINUTE_MS
    for name in NAMES:
        bars = market.bars(name, interval, end_ms - LOG_LENGTH // SYMBOLS * MINUTE_MS, end_ms)
        texts = (
            protocol.encode_bar(name, interval, 10_000 + seq, bar, True, bar.time_ms + MINUTE_MS)
            for seq, bar in enumerate(bars)
        )
        closed = [(f"{name}@1m", protocol.bar_mark(bar), text) for bar, text in zip(bars, texts, strict=True)]
        cache.speak(0, blocks.pack(0, []), {}, {}, closed=closed)


def source(port: int) -> dict[str, str]:
    """The settings that lead a feed to that simulator."""
    http = {f"TRADINGVIEW_{name}_URL": f"http://127.0.0.1:{port}" for name in ("SEARCH", "SCANNER", "SITE")}
    return {"TRADINGVIEW_WEBSOCKET_URL": f"ws://127.0.0.1:{port}/socket.io/websocket", **http}


def listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


# --- memory ---


def sampled(plan: Plan, look: Callable[[], tuple[int, int]]) -> list[Sample]:
    """Written as they come, beside the figures, as lines of `minute,feed,web`: bytes resident."""
    RESULTS.mkdir(exist_ok=True)
    began, samples = time.monotonic(), []
    with (RESULTS / "live-soak.csv").open("w", buffering=1) as file:
        while (minute := (time.monotonic() - began) / 60) < plan.minutes:
            samples.append(Sample(minute, *look()))
            file.write(f"{minute:.2f},{samples[-1].feed},{samples[-1].web}\n")
            time.sleep(SAMPLE_S)
    return samples


def tell_growth(report: Report, name: str, samples: Sequence[Sample]) -> None:
    sizes = np.array([getattr(one, name) for one in samples]) / KIB
    slope = float(np.polyfit([one.minute for one in samples], sizes, 1)[0])
    minutes = f"{samples[-1].minute - samples[0].minute:.0f} min"
    report.add(Figure(f"3.23 {name} process, slope over {minutes}", slope, "KiB/min", goal=f"<= {SLOPE}"))
    report.add(Figure(f"3.23 {name} process, gained in all", float(sizes[-1] - sizes[0]), "KiB"))
    report.add(Figure(f"3.23 {name} process, at the end", float(sizes[-1]) * KIB / MIB, "MiB"))


# --- those who are not the crowd ---


class Visits:
    def __init__(self) -> None:
        self.count = 0
        self.over = threading.Event()


@contextmanager
def visitors(port: int) -> Iterator[Visits]:
    """One stays with charts, another comes and goes, each time with other wishes; what fails is raised in the end."""
    visits = Visits()
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(watch_charts, port, visits), pool.submit(come_and_go, port, visits)]
        try:
            yield visits
        finally:
            visits.over.set()
    for one in running:
        one.result()


def watch_charts(port: int, visits: Visits) -> None:
    with arrive(port) as socket:
        ask(socket, NAMES[:CHARTS])
        while not visits.over.is_set():
            said = json.loads(socket.recv())
            if said["type"] == "ping":
                socket.send(json.dumps({"op": "pong", "n": said["n"]}))


def come_and_go(port: int, visits: Visits) -> None:
    for start in itertools.count(step=7):
        if visits.over.wait(VISIT_S):
            return
        with arrive(port) as socket:
            ask(socket, [NAMES[(start + step) % SYMBOLS] for step in range(5)])
            while json.loads(socket.recv())["type"] != "snapshot":
                pass
        visits.count += 1


def arrive(port: int) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}/ws/v1/", origin=Origin(f"http://127.0.0.1:{port}"), max_size=None)


def ask(socket: ClientConnection, names: Sequence[str]) -> None:
    socket.send(json.dumps({"op": "subscribe", "quotes": names, "bars": [f"{name}@1m" for name in names]}))


if __name__ == "__main__":
    sys.exit(not main(sys.argv[1:]))
