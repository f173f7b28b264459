"""A series whose source has rebased its prices: marked, loaded whole into a new revision by a backfill job, switched to
at once. Begun by pulls, worked on by `backfill`.

What lies before the depth of the source's plan, or before its first bar, cannot be loaded again: it is kept, multiplied
by the factor, and a finding says so.
"""

import logging

from infrastructure.errors import Rejected
from infrastructure.persistence import BarStore, Database, FindingStore, Found, Series, mongodb_errors
from infrastructure.persistence.bar_documents import EARLIEST_MS
from infrastructure.ranges import within
from infrastructure.times import from_ms
from infrastructure.tradingview.base import SymbolInfo
from marketdata.models import BackfillJob
from marketdata.services import backfill_jobs, rebasing
from marketdata.services.errands import Errand
from marketdata.services.planning import Ask

logger = logging.getLogger(__name__)

REBASED, RESCALED = "rebased", "rescaled"
SAMPLE_BARS = 500  # compared for the factor of volumes
NOT_BEGUN = 0


def start(bars: BarStore, series: Series, factor: float) -> None:
    """From now on the series does not grow until a job has loaded it anew."""
    if bars.revisions.mark(series, factor):
        reason = f"its source multiplied all prices by {factor:g}; it is loaded anew"
        logger.warning("%s %s: %s", series.symbol, series.interval, reason)
        _note(REBASED, series, reason, series.first_ms or 0, series.last_ms or 0)
    ensure(series)


@mongodb_errors()
def ensure(series: Series) -> None:
    """A job for a marked series; one that failed or was cancelled waits for a person."""
    wish = {"symbol": series.symbol, "interval": series.interval.name}
    if BackfillJob.objects.filter(revision__gte=NOT_BEGUN, **wish).exclude(state=BackfillJob.State.DONE).exists():
        return
    first_ms = series.first_ms or 0
    backfill_jobs.enqueue(BackfillJob(revision=NOT_BEGUN, start_at=from_ms(first_ms), **wish))


class Reload(Errand):
    """The errand of such a job: pages go into the draft, which has a coverage of its own."""

    def __init__(self, job: BackfillJob, bars: BarStore, now_ms: int) -> None:
        super().__init__(job, bars, now_ms)
        current = super()._series()
        if current is None:
            raise Rejected(f"There is no series of {job.symbol} {job.interval} to load anew.")
        self._switched = current.revision == job.revision  # a process died after it
        draft = bars.revisions.draft(current)
        if not self._switched and (draft is None or draft.revision != job.revision):
            draft = bars.revisions.begin(current)
            backfill_jobs.advance(job, (BackfillJob.State.RUNNING,), revision=draft.revision, reached_at=None)
            self._asked.clear()
        self._current, self._draft = current, draft

    def next(self) -> Ask | None:
        return None if self._switched else super().next()

    def complete(self) -> None:
        if self._switched or self._draft is None:
            return
        self._carry_older(self._draft)
        series = self._bars.revisions.switch(self._draft)
        logger.info("%s %s: revision %s replaced the one before", series.symbol, series.interval, series.revision)

    def _series(self) -> Series | None:
        return self._draft

    def _target(self, info: SymbolInfo) -> Series:
        if self._draft is None:
            raise Rejected(f"{self.job} has been loaded anew already.")
        return self._draft

    def _carry_older(self, draft: Series) -> None:
        """What the source does not give back. Repeated after a crash, it carries the same again."""
        until_ms = self._coverage.of(draft).ended_ms
        if until_ms is None or self._current.rebased is None:
            return
        before = self._bars.last(self._current, SAMPLE_BARS)
        after = self._bars.read(draft, int(before.time_ms[0]), int(before.time_ms[-1]) + 1)
        volumes = rebasing.volume_factor(before, after)
        carried = 0
        for part in self._bars.iterate(self._current, None, until_ms):
            carried += len(part)
            self._bars.write(draft, rebasing.rescaled(part, self._current.rebased, volumes))
        if carried:
            ranges = within(self._coverage.of(self._current).ranges, EARLIEST_MS, until_ms)
            self._coverage.add(draft, ranges)
            reason = f"{carried} bars beyond the source's depth were multiplied by {self._current.rebased:g}"
            _note(RESCALED, draft, reason, self._current.first_ms or 0, until_ms)


def _note(kind: str, series: Series, reason: str, first_ms: int, last_ms: int) -> None:
    found = Found(kind, series.symbol, series.interval.name, reason, first_ms, last_ms)
    FindingStore(Database()).note([found])
