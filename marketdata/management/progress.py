"""What `manage.py backfill` shows while it works: a bar for each series under way on a terminal, else plain lines."""

from collections.abc import Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from django.core.management.base import OutputWrapper
from rich import progress as rich_progress
from rich.console import Console

from marketdata.models import BackfillJob
from marketdata.services.backfill_jobs import Progress

PLAIN_WIDTH = 120  # where no terminal has one
COLUMNS = (
    rich_progress.TextColumn("{task.description:<24}"),
    rich_progress.BarColumn(),
    rich_progress.TaskProgressColumn(),
    rich_progress.TextColumn("{task.fields[said]}"),
    rich_progress.TimeElapsedColumn(),
)


class Display:
    """Of things with these names, by their place; used from one thread. `quiet`: shows nothing, as before JSON."""

    def __init__(self, out: OutputWrapper, names: Sequence[str], *, quiet: bool) -> None:
        out.ending = ""  # rich ends its lines itself
        width = None if out.isatty() else PLAIN_WIDTH
        self.console = Console(file=out, width=width, highlight=False, quiet=quiet)  # type: ignore[arg-type]  # a text stream in all but name
        self._names = names
        self._tasks: dict[int, rich_progress.TaskID] = {}
        self._bars = None
        self._over = 0
        if self.console.is_terminal and not quiet:
            self._bars = rich_progress.Progress(*COLUMNS, console=self.console, transient=True)
            self._all = self._bars.add_task("all series", total=len(names), said="", visible=len(names) > 1)

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def began(self, place: int) -> None:
        if self._bars:
            self._tasks[place] = self._bars.add_task(self._names[place], total=1.0, said="")

    def said(self, place: int, share: float, text: str) -> None:
        if self._bars:
            self._bars.update(self._tasks[place], completed=share, said=text, refresh=True)
        else:
            self.line(place, text)

    def ended(self, place: int, error: Exception | None) -> None:
        self._over += 1
        if self._bars:
            self._bars.remove_task(self._tasks.pop(place))
            self._bars.update(self._all, completed=self._over, said=f"{self._over} of {len(self._names)}")
        if error:
            self.line(place, f"not finished: {error}")

    def line(self, place: int, text: str) -> None:
        self.console.print(f"{self._names[place]}: {text}", soft_wrap=True, markup=False)


def told(job: BackfillJob, progress: Progress) -> str:
    """In words: how far, how fast, how long still."""
    total = "" if job.bars is None else f" of {job.bars:,}"
    parts = [f"{progress.bars:,}{total} bars"]
    if progress.reached_at is not None:
        parts.append(f"back to {progress.reached_at:%Y-%m-%d %H:%M} UTC")
    if progress.rate is not None:
        parts.append(f"{progress.rate:,.0f} bars/s")
    if progress.eta_s is not None:
        parts.append(f"{duration(progress.eta_s)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
