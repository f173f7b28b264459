"""What a person asks for, into jobs that are not saved yet: patterns of symbols, intervals, how much of each. Used by
`manage.py backfill`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase

from infrastructure.errors import Rejected
from infrastructure.intervals import Interval
from infrastructure.persistence import BarStore, mongodb_errors
from infrastructure.times import from_ms, to_ms
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill_jobs, symbols
from marketdata.services.holdings import holdings

MOST = 1000  # jobs at once
WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Amount:
    """The newest `bars`, or a range; `force`: also what is there already."""

    bars: int | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    force: bool = False


@mongodb_errors()
def keys_of(texts: Sequence[str], every: bool = False) -> list[str]:
    """Symbols as a person names them, in that order: keys, and patterns as of a shell, which stand for all known
    symbols that match. `every`: all active ones. Rejected where a text means nothing."""
    if every:
        found = sorted(Symbol.objects.filter(active=True).values_list("pk", flat=True))
        if not found:
            raise Rejected("No symbol is active.")
        return found
    known = sorted(Symbol.objects.values_list("pk", flat=True)) if any(WILD & set(text) for text in texts) else []
    keys = [key for text in texts for key in _matching(text, known)]
    if not keys:
        raise Rejected("Name at least one symbol, as in NASDAQ:AAPL.")
    return list(dict.fromkeys(keys))


def _matching(text: str, known: Sequence[str]) -> list[str]:
    if not WILD & set(text):
        return [symbols.key_of(text)]
    found = [key for key in known if fnmatchcase(key, text.strip().upper())]
    if not found:
        raise Rejected(f"No symbol of this platform matches {text.strip()!r}.")
    return found


def jobs_of(keys: Sequence[str], intervals: Sequence[Interval], amount: Amount) -> list[BackfillJob]:
    """Not saved. Rejected where nobody could carry them out."""
    backfill_jobs.check_wish(amount.bars, amount.start_at, amount.end_at)
    return _few(
        [
            BackfillJob(
                symbol=key,
                interval=interval.name,
                bars=amount.bars,
                start_at=amount.start_at,
                end_at=amount.end_at,
                force=amount.force,
            )
            for key in keys
            for interval in intervals
        ]
    )


def jobs_of_gaps(
    bars: BarStore, keys: Collection[str], intervals: Collection[Interval], amount: Amount, now_ms: int
) -> list[BackfillJob]:
    """One for each stored series (of these intervals; empty: any) that lacks something between its first bar and its
    last one, and within the amount's range."""
    start_ms, end_ms = (None if at is None else to_ms(at) for at in (amount.start_at, amount.end_at))
    jobs = []
    for one in holdings(bars, keys, [interval.name for interval in intervals], now_ms, start_ms, end_ms):
        last_ms = one.series.last_ms
        inside = [gap for gap in one.gaps or () if last_ms is not None and gap.start_ms < last_ms]
        if inside:
            start_at, end_at = from_ms(inside[0].start_ms), from_ms(inside[-1].end_ms)
            interval = one.series.interval.name
            jobs.append(BackfillJob(symbol=one.series.symbol, interval=interval, start_at=start_at, end_at=end_at))
    return _few(jobs)


def _few(jobs: list[BackfillJob]) -> list[BackfillJob]:
    if len(jobs) > MOST:
        raise Rejected(f"That would be {len(jobs):,} series; at most {MOST:,} are backfilled at once.")
    return jobs
