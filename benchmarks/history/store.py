"""Figures 2.13–2.18 and 2.20: the bar store beside ArcticDB and a document per bar, and the codec alone."""

import random
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median

from benchmarks.harness import Act, Figure, Report, alternate
from benchmarks.history import data
from benchmarks.history.data import COIN, MINUTE, PRECIOUS, SHARE
from benchmarks.history.stores import Documents, Ours, Peer, frame_of
from infrastructure.bars import Bars
from infrastructure.persistence import bar_codec, bar_documents

MILLION = 1_000_000
PER_BAR = 50_000  # of the million: a document per bar is that slow; its rate is what counts
HISTORY = 200_000
SYMBOLS = 500
ARCTICDB = "ArcticDB (LMDB)"
WRITE_RUNS, READ_RUNS, LATEST_RUNS, DECODE_RUNS = 11, 101, 11, 101


def measure(report: Report, folder: Path) -> None:
    ours, peer, documents = Ours(), Peer(folder), Documents()
    _sizes(report, ours)
    for name, symbol in (("24x7", COIN), ("stock session", SHARE)):
        _reads(report, ours, peer, symbol, name)
    _writes(report, ours, peer, documents)
    _corrections(report, ours, peer)
    _latest(report, ours, peer)
    _codec(report)


def _writes(report: Report, ours: Ours, peer: Peer, documents: Documents) -> None:
    """Each first write is of a symbol that is new, into a store that holds the earlier ones. What was written before is
    on the disk by then: neither side pays for the other's."""
    bars = data.minutes(COIN, MILLION)
    frame, few, names = frame_of(bars), bars[:PER_BAR], _names()
    documents.forget()
    sides: dict[str, Act] = {
        "ours": lambda: ours.store.write(ours.series(next(names), COIN), bars),
        "ArcticDB": lambda: peer.write(next(names), frame),
        "documents": lambda: documents.write(next(names), few),
    }
    taken = alternate(sides, WRITE_RUNS, settle=ours.rest)
    rate, theirs = MILLION / taken["ours"], MILLION / taken["ArcticDB"]
    report.add(Figure("2.13 first write, 1 M minutes", rate, "bars/s", ARCTICDB, theirs, ">= 1.3", WRITE_RUNS))
    theirs = PER_BAR / taken["documents"]
    report.add(Figure("2.13 first write, 1 M minutes", rate, "bars/s", "insert_many", theirs, ">= 100", WRITE_RUNS))
    series = ours.series("again", COIN)
    ours.store.write(series, bars)
    peer.write("again", frame)
    taken = alternate(
        {
            "ours": lambda: ours.store.write(series, bars),
            "update": lambda: peer.update("again", frame),
            "write": lambda: peer.write("again", frame),
        },
        WRITE_RUNS,
        settle=ours.rest,
    )
    rate, theirs = MILLION / taken["ours"], MILLION / min(taken["update"], taken["write"])
    report.add(Figure("2.13 identical re-run", rate, "bars/s", ARCTICDB, theirs, ">= 1.3", WRITE_RUNS))
    _same(ours.store.read(series), peer.read("again"), bars)


def _corrections(report: Report, ours: Ours, peer: Peer) -> None:
    """One bar of a hundred is given another close and volume: the whole history again, and the corrected bars alone."""
    bars, series = data.minutes(COIN, MILLION), ours.series("again", COIN)
    versions = [data.merged(bars, data.corrected(bars, 0.01, seed)) for seed in (1, 2)]
    frames = [frame_of(version) for version in versions]
    turns = {"ours": 0, "ArcticDB": 0}

    def turn(side: str) -> int:
        turns[side] += 1
        return turns[side] % 2

    taken = alternate(
        {
            "ours": lambda: ours.store.write(series, versions[turn("ours")]),
            "ArcticDB": lambda: peer.update("again", frames[turn("ArcticDB")]),
        },
        WRITE_RUNS,
        settle=ours.rest,
    )
    rate, theirs = (MILLION / taken[side] for side in ("ours", "ArcticDB"))
    report.add(Figure("2.14 re-run with 1 % corrected", rate, "bars/s", ARCTICDB, theirs, ">= 0.3", WRITE_RUNS))
    _same(ours.store.read(series), peer.read("again"), versions[turns["ours"] % 2])

    changes = [data.corrected(bars, 0.01, seed) for seed in (3, 4)]
    few = [frame_of(part) for part in changes]

    def correct_theirs() -> None:
        """Its `update` replaces all that lies between the first and the last bar it is given."""
        frame, part = peer.library.read("again").data, few[turn("ArcticDB")]
        frame.loc[part.index] = part
        peer.write("again", frame)

    sides: dict[str, Act] = {
        "ours": lambda: ours.store.write(series, changes[turn("ours")]),
        "ArcticDB": correct_theirs,
    }
    taken = alternate(sides, WRITE_RUNS, settle=ours.rest)
    rate, theirs = (len(changes[0]) / taken[side] for side in ("ours", "ArcticDB"))
    report.add(Figure("2.14 the corrected 1 % alone", rate, "bars/s", ARCTICDB, theirs, ">= 0.3", WRITE_RUNS))
    _same(ours.store.read(series), peer.read("again"))
    twin = ours.series("twin", COIN)
    ours.store.write(twin, bars)
    taken = alternate({"corrected": lambda: ours.store.read(series), "twin": lambda: ours.store.read(twin)}, 51)
    values = (taken[side] * 1000 for side in ("corrected", "twin"))
    report.add(Figure("2.14 reading that million", next(values), "ms", "never corrected", next(values), "<= 1.1", 51))


def _reads(report: Report, ours: Ours, peer: Peer, symbol: str, name: str) -> None:
    """Ranges lie anywhere in the history; both sides read the same ones."""
    bars, series = data.minutes(symbol, HISTORY), ours.series(symbol, symbol)
    ours.store.write(series, bars)
    peer.write(symbol, frame_of(bars))
    draw = random.Random(1)

    def compare(what: str, goal: str, reads: int, days: int | None) -> None:
        wanted: tuple[int, int] | tuple[None, None] = (None, None)

        def choose() -> None:
            nonlocal wanted
            if days:
                wanted = data.days_before(draw.randrange(int(bars.time_ms[45_000]), int(bars.time_ms[-1])), days)

        choose()
        _same(ours.store.read(series, *wanted), peer.read(symbol, *wanted), bars.between(*wanted))
        sides: dict[str, Act] = {
            "ours": lambda: ours.store.read(series, *wanted),
            "ArcticDB": lambda: peer.read(symbol, *wanted),
        }
        taken = alternate(sides, reads, between=choose)
        mine, theirs = (taken[side] * 1000 for side in ("ours", "ArcticDB"))
        report.add(Figure(f"{what}, {name}", mine, "ms", ARCTICDB, theirs, goal, reads))

    _same(ours.store.last(series, 500), peer.last(symbol, 500), bars[-500:])
    taken = alternate(
        {"ours": lambda: ours.store.last(series, 500), "ArcticDB": lambda: peer.last(symbol, 500)}, READ_RUNS
    )
    mine, theirs = (taken[side] * 1000 for side in ("ours", "ArcticDB"))
    report.add(Figure(f"2.15 last 500, {name}", mine, "ms", ARCTICDB, theirs, "<= 0.5", READ_RUNS))
    compare("2.15 one day", "<= 0.5", READ_RUNS, 1)
    compare("2.15 30 days", "<= 0.7", READ_RUNS, 30)
    compare("2.16 200,000 bars into numpy", "<= 1.3", READ_RUNS // 2, None)


def _latest(report: Report, ours: Ours, peer: Peer) -> None:
    part = data.minutes(COIN, HISTORY)[-20_000:]
    frame, names = frame_of(part), [f"latest{number:03}" for number in range(SYMBOLS)]
    series = [ours.series(name, COIN) for name in names]
    for one in series:
        ours.store.write(one, part)
        peer.write(one.symbol, frame)
    mine, theirs = ours.store.latest(series), peer.latest(names)
    if {one.symbol: mine[one.id] for one in series} != theirs:
        raise AssertionError("The latest bars differ.")
    taken = alternate({"ours": lambda: ours.store.latest(series), "ArcticDB": lambda: peer.latest(names)}, LATEST_RUNS)
    figure = f"2.17 latest bar of {SYMBOLS} symbols"
    values = (taken[side] * 1000 for side in ("ours", "ArcticDB"))
    report.add(Figure(figure, next(values), "ms", ARCTICDB, next(values), "<= 0.05", LATEST_RUNS))


def _sizes(report: Report, ours: Ours) -> None:
    """On disk, index included, one series alone in the store."""
    sizes = {}
    for symbol, goal in ((COIN, "<= 7"), (SHARE, "<= 7"), (PRECIOUS, "")):
        ours.forget()
        ours.store.write(ours.series(symbol, symbol), data.minutes(symbol, HISTORY))
        sizes[symbol] = ours.disk_bytes() / HISTORY
        report.add(Figure(f"2.18 on disk, {symbol}", sizes[symbol], "bytes/bar", goal=goal))
    figure = "2.18 on disk, stock session beside 24x7"
    report.add(Figure(figure, sizes[SHARE], "bytes/bar", COIN, sizes[COIN], "<= 1.3"))
    ours.forget()


def _codec(report: Report) -> None:
    """Processor time of one thread, into room that is there: neither other programs nor the kernel's pages count."""
    for symbol, goal in ((COIN, ">= 50"), (SHARE, ">= 50"), (PRECIOUS, "")):
        bars = data.minutes(symbol, HISTORY)
        step = bar_documents.span_of(data.bars_per_week(symbol)) // MINUTE.length_ms
        size = round(step * data.bars_per_week(symbol) / 10_080)
        parts = [bars[at : at + size] for at in range(0, len(bars), size)]
        blobs, out = [bar_codec.encode(part) for part in parts], bar_codec.allocate(len(bars))
        packing, unpacking = [], []
        for _ in range(DECODE_RUNS):
            began = time.thread_time()
            for part in parts:
                bar_codec.encode(part)
            packing.append(time.thread_time() - began)
        for _ in range(DECODE_RUNS):
            began, at = time.thread_time(), 0
            for blob in blobs:
                at += bar_codec.decode_into(blob, out, at)
            unpacking.append(time.thread_time() - began)
        _same(out, bars)
        for what, taken, wanted in (("decode", unpacking, goal), ("encode", packing, "")):
            rate = len(bars) / median(taken) / 1e6
            report.add(Figure(f"2.20 {what}, {symbol}", rate, "M bars/s", goal=wanted, runs=DECODE_RUNS))


def _names() -> Iterator[str]:
    return (f"new{number}" for number in count())


def _same(*results: Bars) -> None:
    if not all(one.same_as(results[0]) for one in results[1:]):
        raise AssertionError("The stores do not give the same bars.")
