"""`manage.py backfill`: history of symbols into the bar store, in this process, with a progress bar and a summary."""

import signal
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from infrastructure.errors import InfrastructureError, Rejected
from infrastructure.intervals import parse_interval
from infrastructure.persistence import Database, mongodb_errors
from marketdata.management.failures import one_sentence
from marketdata.management.moments import moment
from marketdata.management.progress import Progress
from marketdata.models import BackfillJob
from marketdata.providers import IDataProvider, get_provider
from marketdata.services import backfill, backfill_jobs, series, symbols

INTERRUPTED = 130  # as a shell says of a program that Ctrl-C ended


class Command(BaseCommand):
    help = (
        "Fetches history into the bar store: the newest bars, or those of a range of time. What is stored already is "
        "not written again. A symbol that the platform lacks is looked up at the source and added, inactive."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="EXCHANGE:TICKER")
        parser.add_argument("--interval", action="append", default=[], help="may be given several times; default 1m")
        parser.add_argument("--bars", type=int, help="so many of the newest bars")
        parser.add_argument(
            "--from", dest="start", metavar="DATE", help="ISO date or time; UTC unless it says otherwise"
        )
        parser.add_argument("--to", dest="end", metavar="DATE", help="a date includes that day, a time is not included")
        parser.add_argument("--resume", metavar="JOB", help="goes on with a job that was interrupted, by its id")

    def handle(self, *args: Any, **options: Any) -> None:
        progress = Progress(self.stdout)
        with one_sentence(), _stopped_like_ctrl_c():
            Database().ping()
            try:
                with get_provider() as provider:
                    self._run(self._jobs(provider, options), provider, progress)
            except backfill.Interrupted as end:
                raise CommandError(str(end)) from end
            finally:
                progress.summary()

    def _jobs(self, provider: IDataProvider, options: dict[str, Any]) -> list[BackfillJob]:
        """Everything is checked, at the source too, before anything is written."""
        if options["resume"]:
            return [_interrupted(options)]
        start, end = moment(options["start"], "--from"), moment(options["end"], "--to", whole_day=True)
        intervals = list(dict.fromkeys(map(parse_interval, options["interval"] or ["1m"])))
        backfill_jobs.check_wish(options["bars"], start, end)
        keys = list(dict.fromkeys(map(symbols.key_of, options["symbols"])))
        if not keys:
            raise Rejected("Name at least one symbol, as in NASDAQ:AAPL.")
        symbols.make_known(keys, intervals, provider)
        return [
            BackfillJob(symbol=key, interval=interval.name, bars=options["bars"], start_at=start, end_at=end)
            for key in keys
            for interval in intervals
        ]

    def _run(self, jobs: list[BackfillJob], provider: IDataProvider, progress: Progress) -> None:
        for job in jobs:
            backfill_jobs.start_here(job)
            with progress.job(job) as on_step, _resumable(job):
                backfill.run(job, provider, series.store(), on_step=on_step)


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """SIGTERM leaves a resumable job too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _resumable(job: BackfillJob) -> Iterator[None]:
    """Says how to go on after Ctrl-C, or when the source or a store went away."""
    go_on = f"Go on with: manage.py backfill --resume {job.pk}"
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError(f"{job}: interrupted. {go_on}", returncode=INTERRUPTED) from None
    except InfrastructureError as error:
        if job.state != BackfillJob.State.PAUSED:
            raise
        raise CommandError(f"{error} {go_on}") from error


@mongodb_errors()
def _interrupted(options: dict[str, Any]) -> BackfillJob:
    if any(options[name] for name in ("symbols", "interval", "bars", "start", "end")):
        raise Rejected("--resume takes everything from the job, so it goes with nothing else.")
    job = BackfillJob.objects.filter(pk=options["resume"]).first() if _is_id(options["resume"]) else None
    if job is None:
        raise Rejected(f"There is no backfill job {options['resume']!r}.")
    return job


def _is_id(text: str) -> bool:
    return len(text) == 24 and all(letter in "0123456789abcdef" for letter in text)
