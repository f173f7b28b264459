"""Whether stored bars are what the source says now: reads the source over a wish and compares page by page. Writes
nothing. Used by `manage.py backfill --verify`."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from infrastructure.bars import Bars
from infrastructure.intervals import parse_interval
from infrastructure.persistence import BarStore, Series
from infrastructure.times import to_ms
from infrastructure.tradingview.base import History
from infrastructure.tradingview.budget import because
from marketdata.models import BackfillJob
from marketdata.providers import IDataProvider
from marketdata.services import hours
from marketdata.services.bar_checks import check
from marketdata.services.coverage import Asked

LISTED = 20  # differences of a series that are told one by one; the others are counted


@dataclass(frozen=True, slots=True)
class Difference:
    """`kind`: missing (the source has it, the store does not), extra (the other way round) or differing. Values are
    (open, high, low, close, volume), None where that side has no bar."""

    kind: str
    time_ms: int
    stored: tuple[float, ...] | None
    source: tuple[float, ...] | None


@dataclass(slots=True)
class Verified:
    """`bars` of the source were compared; those that cannot be true are left out, as they would not be stored."""

    symbol: str
    interval: str
    bars: int = 0
    missing: int = 0
    extra: int = 0
    differing: int = 0
    listed: list[Difference] = field(default_factory=list)

    @property
    def differences(self) -> int:
        return self.missing + self.extra + self.differing

    def add(self, stored: Bars, source: Bars) -> None:
        """Of one stretch of time, both whole."""
        _, ours, theirs = np.intersect1d(stored.time_ms, source.time_ms, assume_unique=True, return_indices=True)
        unlike = ~_equal(stored[ours], source[theirs])
        missing = np.delete(np.arange(len(source)), theirs)
        extra = np.delete(np.arange(len(stored)), ours)
        self.bars += len(source)
        self.missing += len(missing)
        self.extra += len(extra)
        self.differing += int(unlike.sum())
        found = [
            *(Difference("missing", t, None, v) for t, v in _rows(source, missing)),
            *(Difference("extra", t, v, None) for t, v in _rows(stored, extra)),
            *(
                Difference("differing", t, v, w)
                for (t, v), (_, w) in zip(_rows(stored, ours[unlike]), _rows(source, theirs[unlike]), strict=True)
            ),
        ]
        self.listed = sorted([*self.listed, *found], key=lambda one: -one.time_ms)[:LISTED]


def verify(
    job: BackfillJob, provider: IDataProvider, bars: BarStore, on_page: Callable[[Verified], None] = lambda found: None
) -> Verified:
    """The job only says what to look at. Pages are streamed: one is in memory at a time."""
    interval = parse_interval(job.interval)
    start_ms, end_ms = (None if at is None else to_ms(at) for at in (job.start_at, job.end_at))
    asked = Asked(interval, start_ms, end_ms, job.bars)
    series = bars.find(job.symbol, interval)
    result = Verified(job.symbol, job.interval)
    with because("verify"):
        pages = provider.pages(job.symbol, interval, bars=job.bars, start_ms=start_ms, end_ms=end_ms)
        with closing(pages) as pages:  # type: ignore[type-var]  # a generator in all but name
            for page in pages:
                for low, high in asked.received(page):
                    result.add(_stored(bars, series, low, high), _believed(page))
                on_page(result)
    for low, high in asked.exhausted():
        result.add(_stored(bars, series, low, high), Bars.empty())
    return result


def _believed(page: History) -> Bars:
    return check(page.bars, page.interval, hours.of_info(page.info), page.server_ms).good


def _stored(bars: BarStore, series: Series | None, start_ms: int, end_ms: int) -> Bars:
    return Bars.empty() if series is None else bars.read(series, start_ms, end_ms)


def _equal(ours: Bars, theirs: Bars) -> NDArray[np.bool_]:
    """Bar by bar, to the last bit; a volume of NaN equals itself."""
    same = np.ones(len(ours), np.bool_)
    for a, b in zip(ours.columns[1:], theirs.columns[1:], strict=True):
        same &= (a == b) | (np.isnan(a) & np.isnan(b))
    return same


def _rows(bars: Bars, places: NDArray[np.intp]) -> list[tuple[int, tuple[float, ...]]]:
    """Of the newest ones that may be listed."""
    return [(bar.time_ms, (bar.open, bar.high, bar.low, bar.close, bar.volume)) for bar in bars[places[-LISTED:]]]
