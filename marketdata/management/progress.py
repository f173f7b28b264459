"""What `manage.py backfill` shows: a progress bar on a terminal, plain lines elsewhere, and a table at the end."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.core.management.base import OutputWrapper
from django.utils import timezone
from rich import progress as rich_progress
from rich.console import Console
from rich.table import Table

from marketdata.models import BackfillJob
from marketdata.services import backfill_jobs
from marketdata.services.backfill import Step

PLAIN_WIDTH = 120  # where no terminal has one
COLUMNS = (
    rich_progress.TextColumn("{task.description:<24}"),
    rich_progress.BarColumn(),
    rich_progress.TaskProgressColumn(),
    rich_progress.TextColumn("{task.fields[said]}"),
    rich_progress.TimeElapsedColumn(),
)


@dataclass(slots=True)
class Row:
    """What this process did for one job; a resumed one has done more before."""

    job: BackfillJob
    began_s: float
    seconds: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def add(self, step: Step) -> None:
        done = (step.bars, step.new, step.corrected, step.documents)
        self.counts = [before + more for before, more in zip(self.counts, done, strict=True)]


class Progress:
    def __init__(self, out: OutputWrapper) -> None:
        out.ending = ""  # rich ends its lines itself
        width = None if out.isatty() else PLAIN_WIDTH
        self._console = Console(file=out, width=width, highlight=False)  # type: ignore[arg-type]  # a text stream in all but name
        self._rows: list[Row] = []

    @contextmanager
    def job(self, job: BackfillJob) -> Iterator[Callable[[Step], None]]:
        """Gives what to call after each page."""
        row = Row(job, time.monotonic())
        self._rows.append(row)
        with self._shown(job) as show:

            def on_step(step: Step) -> None:
                row.add(step)
                show()

            try:
                yield on_step
            finally:
                row.seconds = time.monotonic() - row.began_s

    @contextmanager
    def _shown(self, job: BackfillJob) -> Iterator[Callable[[], None]]:
        if not self._console.is_terminal:
            yield lambda: self._console.print(f"{job}: {_said(job)}", soft_wrap=True)
            return
        with rich_progress.Progress(*COLUMNS, console=self._console, transient=True) as shown:
            task = shown.add_task(str(job), total=1.0, said="")
            yield lambda: shown.update(
                task, completed=backfill_jobs.progress(job, timezone.now()).share, said=_said(job)
            )

    def summary(self) -> None:
        if not self._rows:
            return
        table = Table("series", "state")
        for heading in ("bars received", "new", "corrected", "documents written", "seconds"):
            table.add_column(heading, justify="right")
        for row in self._rows:
            table.add_row(str(row.job), row.job.state, *(f"{count:,}" for count in row.counts), f"{row.seconds:.1f}")
        self._console.print(table)


def _said(job: BackfillJob) -> str:
    total = "" if job.bars is None else f" of {job.bars:,}"
    back = "" if job.reached_at is None else f", back to {job.reached_at:%Y-%m-%d %H:%M} UTC"
    return f"{job.received:,}{total} bars{back}"
