"""What becomes of all that belongs to a symbol when it is retired or deleted. Used by the admin and `manage.py retire`.

    retired   neither pulled nor streamed any more; its bars, quote and findings stay, and stay readable
    deleted   its jobs are cancelled, its quote and findings go. Its bars go as well, or are kept with their coverage
              and the point its pulls have reached: added again, it goes on with them

A pull, a page or a quote that was under way may still arrive afterwards, so each deletion is noted and `finish` does it
again a while later.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infrastructure.persistence import BarStore, Database, Series, mongodb_errors
from infrastructure.persistence.bar_removal import BarRemoval, Size
from marketdata.models import BackfillJob, Finding, Pull, Quote, Symbol
from marketdata.services import backfill_jobs

logger = logging.getLogger(__name__)

NOTES = "removed_symbol"  # _id key · bars (whether they go too) · series [ids] · at
LATE_S = 120  # a task of a worker is killed after so long at the latest, and the feed looks every two seconds
FINISHED = 100  # notes at a time
MEASURED = 100  # series of one question: their documents are read for it
OPEN = (*backfill_jobs.WAITING, BackfillJob.State.PAUSED)


@dataclass(frozen=True, slots=True)
class Belongings:
    """`jobs` counts those that are queued, running or paused, `past_jobs` the others. A size is None where too many
    symbols were asked about to read all their documents."""

    symbol: Symbol
    series: list[tuple[Series, Size | None]]
    jobs: int
    past_jobs: int
    pulls: int
    quotes: int
    findings: int

    @property
    def bytes(self) -> int | None:
        sizes = [size for _, size in self.series if size is not None]
        return sum(size.bytes for size in sizes) if len(sizes) == len(self.series) else None


@mongodb_errors()
def belongings(bars: BarStore, symbols: Sequence[Symbol]) -> list[Belongings]:
    """Of each, in a number of round trips that does not grow with theirs."""
    names = [row.key for row in symbols]
    series = [one for one in bars.all_series() if one.symbol in set(names)]
    sizes = BarRemoval(Database()).sizes(series) if len(series) <= MEASURED else {}
    jobs = list(BackfillJob.objects.filter(symbol__in=names).values_list("symbol", "state"))
    pulls = list(Pull.objects.filter(symbol__in=names).values_list("symbol", flat=True))
    quotes = list(Quote.objects.filter(pk__in=names).values_list("pk", flat=True))
    findings = list(Finding.objects.filter(symbol__in=names).values_list("symbol", flat=True))
    return [
        Belongings(
            row,
            [(one, sizes.get(one.id)) for one in series if one.symbol == row.key],
            sum(name == row.key and state in OPEN for name, state in jobs),
            sum(name == row.key and state not in OPEN for name, state in jobs),
            pulls.count(row.key),
            quotes.count(row.key),
            findings.count(row.key),
        )
        for row in symbols
    ]


@mongodb_errors()
def retire(symbol: Symbol, *, cancel_jobs: bool) -> int:
    """How many jobs were cancelled; the others go on to their end."""
    Symbol.objects.filter(pk=symbol.key).update(active=False)
    logger.info("%s: retired", symbol.key)
    return _cancel_jobs(symbol.key) if cancel_jobs else 0


@mongodb_errors()
def delete(bars: BarStore, symbol: Symbol, *, keep_bars: bool) -> int:
    """How many jobs were cancelled, which happens first. A process that dies on the way leaves the symbol, so that the
    deletion can be repeated."""
    Symbol.objects.filter(pk=symbol.key).update(active=False)
    cancelled = _cancel_jobs(symbol.key)
    series = [one.id for one in bars.all_series() if one.symbol == symbol.key]
    note = {"bars": not keep_bars, "series": [] if keep_bars else series, "at": "$$NOW"}
    _notes().update_one({"_id": symbol.key}, [{"$set": note}], upsert=True)
    _clear(symbol.key, series, everything=not keep_bars)
    Symbol.objects.filter(pk=symbol.key).delete()
    logger.info("%s: deleted, its bars %s", symbol.key, "kept" if keep_bars else "too")
    return cancelled


@mongodb_errors()
def finish(bars: BarStore, late_s: float = LATE_S) -> int:
    """Deletes what came after its symbol was deleted; of how many symbols. One that was added again keeps its news."""
    age = {"startDate": "$$NOW", "unit": "second", "amount": int(late_s)}
    old = {"$expr": {"$lte": ["$at", {"$dateSubtract": age}]}}
    finished = 0
    for note in _notes().find(old).limit(FINISHED):
        key, series = note["_id"], list(note["series"])
        if not Symbol.objects.filter(pk=key).exists():
            _cancel_jobs(key)
            if note["bars"]:
                series += [one.id for one in bars.all_series() if one.symbol == key]
            _clear(key, series if note["bars"] else [], everything=note["bars"])
        else:
            for one in series:
                BarRemoval(Database()).remove(one)
        finished += _notes().delete_one({"_id": key, "at": note["at"]}).deleted_count
    return finished


def _clear(key: str, series: Sequence[str], *, everything: bool) -> None:
    Quote.objects.filter(pk=key).delete()
    Finding.objects.filter(symbol=key).delete()
    if everything:
        Pull.objects.filter(symbol=key).delete()
        for one in series:
            BarRemoval(Database()).remove(one)


def _cancel_jobs(key: str) -> int:
    return sum(map(backfill_jobs.cancel, BackfillJob.objects.filter(symbol=key, state__in=OPEN)))


def _notes() -> Any:
    return Database().collection(NOTES)
