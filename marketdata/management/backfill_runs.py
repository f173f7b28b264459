"""The two ways in which `manage.py backfill` talks to the source itself: it works on jobs, or verifies what is stored.
Both show what happens meanwhile, and give a row for each series."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from marketdata.management.progress import Display, told
from marketdata.models import BackfillJob
from marketdata.providers import IDataProvider
from marketdata.services import backfill_here, backfill_jobs, series, verifying
from marketdata.services.backfill import Step
from marketdata.services.backfill_here import Paged
from marketdata.services.side_by_side import Began, Ended, SideBySide, Tell
from marketdata.services.verifying import Verified


@dataclass(slots=True)
class Row:
    """What this process did for one job; a resumed one has done more before. `error` is None once it is done."""

    job: BackfillJob
    seconds: float = 0.0
    steps: list[int] = field(default_factory=lambda: [0, 0, 0, 0])  # bars received, new, corrected, documents written
    error: Exception | None = None
    over: bool = False

    def add(self, step: Step) -> None:
        more = (step.bars, step.new, step.corrected, step.documents)
        self.steps = [before + now for before, now in zip(self.steps, more, strict=True)]


@dataclass(slots=True)
class Checked:
    """`found` is None where the source could not be read."""

    job: BackfillJob
    found: Verified | None = None
    error: Exception | None = None


def work(jobs: Sequence[BackfillJob], at_once: int, display: Display) -> tuple[list[Row], bool]:
    """On reserved jobs; the rows, and whether it was interrupted: then unfinished jobs are paused."""
    rows = [Row(job) for job in jobs]
    with display, backfill_here.working(jobs, at_once) as threads:
        try:
            _follow(threads, rows, display)
        except KeyboardInterrupt:
            threads.end()
            for row in rows:
                row.job = row.job if row.over else backfill_jobs.interrupt(row.job)
            return rows, True
    return rows, False


def _follow(threads: SideBySide[None], rows: list[Row], display: Display) -> None:
    began_s: dict[int, float] = {}
    for place, event in threads:
        row = rows[place]
        match event:
            case Began():
                began_s[place] = time.monotonic()
                display.began(place)
            case Paged(step, progress):
                row.add(step)
                display.said(place, progress.share, told(row.job, progress))
            case Ended(_, error):
                row.over, row.error, row.seconds = True, error, time.monotonic() - began_s[place]
                display.ended(place, error)


def verify(jobs: Sequence[BackfillJob], at_once: int, display: Display) -> list[Checked]:
    """The jobs only say what to look at; they are not saved. KeyboardInterrupt goes through: nothing is half done."""
    rows = [Checked(job) for job in jobs]

    def one(place: int, provider: IDataProvider, tell: Tell) -> Verified:
        said: Callable[[Verified], None] = lambda found: tell((_share(jobs[place], found), _compared(found)))  # noqa: E731
        return verifying.verify(jobs[place], provider, series.store(), said)

    with display, SideBySide(one, len(jobs), at_once) as threads:
        for place, event in threads:
            match event:
                case Began():
                    display.began(place)
                case Ended(found, error):
                    rows[place].found, rows[place].error = found, error
                    display.ended(place, error)
                case share, text:
                    display.said(place, share, text)
    return rows


def _share(job: BackfillJob, found: Verified) -> float:
    return min(found.bars / job.bars, 1.0) if job.bars else 0.0


def _compared(found: Verified) -> str:
    return f"{found.bars:,} bars compared, {found.differences:,} differences"
