"""Stored bars into files and back. Used by `manage.py exportbars` and `importbars`. An import is checked like any other
bars, set aside or merged, so repeating it changes nothing."""

from dataclasses import dataclass
from pathlib import Path

from infrastructure import bar_files
from infrastructure.bar_files import About
from infrastructure.errors import Rejected
from infrastructure.intervals import DAY_MS, Interval, parse_interval
from infrastructure.persistence import BarStore, Written, mongodb_errors
from infrastructure.persistence.bar_documents import EARLIEST_MS, LATEST_MS
from infrastructure.ranges import within
from marketdata.models import Symbol
from marketdata.services import coverage, hours, intake
from marketdata.services.bar_checks import LONG_AGO, check


@dataclass(frozen=True, slots=True)
class Imported:
    bars: int
    aside: int
    written: Written


def export(bars: BarStore, key: str, interval: Interval, path: Path, start_ms: int | None, end_ms: int | None) -> int:
    """How many bars; in memory are only those of one document. Rejected where there is no such series."""
    series = bars.find(key, interval)
    if series is None:
        raise Rejected(f"There are no {interval} bars of {key}.")
    ranges = coverage.store().of(series).ranges
    low, high = EARLIEST_MS if start_ms is None else start_ms, LATEST_MS if end_ms is None else end_ms
    about = About(key, interval.name, series.adjustment, series.session, list(within(ranges, low, high)))
    return bar_files.write(path, about, bars.iterate(series, start_ms, end_ms))


def take_in(bars: BarStore, path: Path, now_ms: int, key: str | None = None, interval: str | None = None) -> Imported:
    """`key` and `interval` must be given for a file that does not say, and agree with one that does. Nothing of a file
    is taken in that cannot be read to its end."""
    about = _about(path, key, interval)
    symbol = _symbol(about.symbol)
    kind = parse_interval(about.interval)
    for _ in bar_files.read(path):
        pass
    market = hours.of_symbol(symbol)
    weekly = market.bars_per_week(kind) if market else 7 * DAY_MS / kind.length_ms
    series = bars.series(about.symbol, kind, bars_per_week=weekly, adjustment=about.adjustment, session=about.session)
    count, aside, newest_ms, written = 0, 0, LONG_AGO, Written()
    for part in bar_files.read(path):
        checked = check(part, kind, market, now_ms, newest_ms, closed=False)
        good = intake.accepted(about.symbol, kind, checked)
        count, aside = count + len(part), aside + len(checked.bad)
        newest_ms = int(good.time_ms[-1]) if len(good) else newest_ms
        written += bars.write(series, good)
    if not aside:  # else the source may have a true bar where this file has none
        coverage.store().add(series, within(about.covered, EARLIEST_MS, now_ms))
    return Imported(count, aside, written)


def _about(path: Path, key: str | None, interval: str | None) -> About:
    said = bar_files.read_about(path)
    if said is None:
        if key is None or interval is None:
            raise Rejected(f"{path.name} does not say what it holds: name the symbol and the interval.")
        return About(key, interval)
    if key not in (None, said.symbol) or interval not in (None, said.interval):
        raise Rejected(f"{path.name} holds {said.interval} bars of {said.symbol}.")
    return said


@mongodb_errors()
def _symbol(key: str) -> Symbol:
    found = Symbol.objects.filter(pk=key).first()
    if found is None:
        raise Rejected(f"There is no symbol {key} on this platform.")
    return found
