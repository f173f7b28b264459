"""Many backfill jobs at once: so much history of several symbols and intervals. Used by the admin."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import timezone

from infrastructure.errors import Rejected
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import mongodb_errors
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill_jobs, symbols

MOST = 1000  # a tenth of what their queue holds
OPEN = (*backfill_jobs.WAITING, BackfillJob.State.PAUSED)


@dataclass(slots=True)
class Ordered:
    """`refused` says of "SYMBOL interval" why there is no new job for it."""

    jobs: list[BackfillJob] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


@mongodb_errors()
def order(
    rows: Sequence[Symbol],
    intervals: Collection[str],
    *,
    bars: int | None = None,
    days: int | None = None,
    by: Any = None,
) -> Ordered:
    """The newest `bars`, or everything of the last `days`, of each symbol and interval. Rejected, with nothing ordered,
    where that makes no sense at all."""
    start_at = None if days is None else timezone.now() - timedelta(days=days)
    backfill_jobs.check_wish(bars, start_at, None)
    if len(rows) * len(intervals) > MOST:
        raise Rejected(f"That would be {len(rows) * len(intervals):,} jobs; at most {MOST:,} are made at once.")
    result = Ordered()
    waiting = _waiting([row.key for row in rows])
    for row in rows:
        for name in intervals:
            job = BackfillJob(symbol=row.key, interval=name, bars=bars, start_at=start_at, created_by=by)
            try:
                symbols.check_interval(row.key, INTERVALS[name], row.has_intraday)
                _check_new(job, waiting.get((row.key, name), ()))
            except Rejected as error:
                result.refused[str(job)] = str(error)
            else:
                backfill_jobs.enqueue(job)
                result.jobs.append(job)
    return result


def _waiting(keys: Sequence[str]) -> dict[tuple[str, str], list[BackfillJob]]:
    found: dict[tuple[str, str], list[BackfillJob]] = {}
    for job in BackfillJob.objects.filter(symbol__in=keys, state__in=OPEN):
        found.setdefault((job.symbol, job.interval), []).append(job)
    return found


def _check_new(job: BackfillJob, others: Sequence[BackfillJob]) -> None:
    """A second click must not order the same again."""
    for other in others:
        same_bars = job.bars is not None and other.bars is not None and job.bars <= other.bars
        longer = job.start_at and other.start_at and other.start_at <= job.start_at and other.end_at is None
        if same_bars or longer:
            raise Rejected(f"A job for as much of {job} is {other.state} already.")
