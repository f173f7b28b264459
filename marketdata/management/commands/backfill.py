"""`manage.py backfill`: history of symbols into the bar store, in this process or by the worker; or only its plan, or
whether what is stored is what the source says."""

import signal
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from infrastructure.errors import Rejected
from infrastructure.intervals import Interval, parse_interval
from infrastructure.persistence import Database
from marketdata.management import backfill_reports, backfill_runs
from marketdata.management.backfill_runs import Checked, Row
from marketdata.management.failures import one_sentence
from marketdata.management.moments import moment
from marketdata.management.progress import Display
from marketdata.management.tables import show_json
from marketdata.models import BackfillJob
from marketdata.providers import get_provider
from marketdata.services import backfill_jobs, forecast, job_choice, series, symbols, wishes
from marketdata.services.side_by_side import AT_ONCE, MOST_AT_ONCE
from marketdata.services.wishes import Amount

DIFFERENT = 3
INTERRUPTED = 130  # as a shell says of a program that Ctrl-C ended
WISH = ("symbols", "all", "interval", "bars", "days", "start", "end", "gaps", "force")
WAYS = {"dry_run": "--dry-run", "verify": "--verify", "background": "--background"}
LONGEST_DAYS = 100 * 366


class Command(BaseCommand):
    help = (
        "Fetches history into the bar store: the newest bars, or those of a range of time. Only what is missing is "
        "asked for. A symbol that the platform lacks is looked up at the source and added, inactive. Exit codes: 0 "
        "done; 1 refused, or a series was not finished; 3 --verify found differences; 130 interrupted."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "symbols", nargs="*", metavar="SYMBOL", help="EXCHANGE:TICKER, or a pattern over known ones: 'NASDAQ:*'"
        )
        parser.add_argument("--all", action="store_true", help="every active symbol")
        parser.add_argument(
            "--interval", action="append", default=[], metavar="NAMES",
            help="1m,1h,1d; may be given several times; default 1m, with --gaps all that are stored",
        )  # fmt: skip
        parser.add_argument("--bars", type=int, help="so many of the newest bars")
        parser.add_argument("--days", type=int, help="everything of so many days until now")
        parser.add_argument(
            "--from", dest="start", metavar="DATE", help="ISO date or time; UTC unless it says otherwise"
        )
        parser.add_argument("--to", dest="end", metavar="DATE", help="a date includes that day, a time is not included")
        parser.add_argument("--gaps", action="store_true", help="only what `gaps` lists between first and last bar")
        parser.add_argument("--force", action="store_true", help="asks again for what is there as well")
        parser.add_argument("--resume", nargs="+", metavar="JOB", help="goes on with jobs that were interrupted, by id")
        parser.add_argument("--dry-run", action="store_true", help="says what would be asked for, and asks nothing")
        parser.add_argument(
            "--verify", action="store_true", help="compares what is stored with the source; writes nothing"
        )
        parser.add_argument("--background", action="store_true", help="leaves the work to the worker, prints job ids")
        parser.add_argument(
            "--parallel", type=int, metavar="N", help=f"series at once, 1 to {MOST_AT_ONCE}; default {AT_ONCE}"
        )
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout, and nothing else")

    def handle(self, *args: Any, **options: Any) -> None:
        self._json, self._at_once = options["json"], options["parallel"] or AT_ONCE
        with one_sentence(), _stopped():
            _refuse_nonsense(options)
            Database().ping()
            jobs = _jobs(options)
            if options["dry_run"]:
                self._plan(jobs)
            elif options["verify"]:
                self._verify(jobs)
            elif options["background"]:
                self._queue(jobs)
            else:
                self._work(jobs)

    def _plan(self, jobs: list[BackfillJob]) -> None:
        now_ms, bars = Database().now_ms(), series.store()
        plans = [forecast.forecast(job, bars, now_ms) for job in jobs]
        seconds = forecast.seconds(sum(plan.requests for plan in plans), self._at_once)
        if self._json:
            show_json(self.stdout, backfill_reports.planned_json(plans, seconds))
        else:
            backfill_reports.planned(self._display([]).console, plans, seconds)

    def _verify(self, jobs: list[BackfillJob]) -> None:
        display = self._display(jobs)
        rows = backfill_runs.verify(jobs, self._at_once, display)
        if self._json:
            show_json(self.stdout, backfill_reports.verified_json(rows))
        else:
            backfill_reports.verified(display.console, rows)
        _say_failures(rows)
        different = sum(row.found.differences > 0 for row in rows if row.found)
        if different:
            raise CommandError(f"{different} of {len(rows)} series differ from the source.", returncode=DIFFERENT)

    def _queue(self, jobs: list[BackfillJob]) -> None:
        for job in jobs:
            backfill_jobs.enqueue(job)
        if self._json:
            show_json(self.stdout, backfill_reports.queued_json(jobs))
        else:
            self.stdout.write("".join(f"{job.pk} {job}\n" for job in jobs), ending="")

    def _work(self, jobs: list[BackfillJob]) -> None:
        for job in jobs:
            backfill_jobs.reserve(job)
        display = self._display(jobs)
        rows, interrupted = backfill_runs.work(jobs, self._at_once, display)
        if self._json:
            show_json(self.stdout, backfill_reports.worked_json(rows))
        elif rows:
            backfill_reports.worked(display.console, rows)
        else:
            self.stdout.write("nothing is missing\n", ending="")
        if interrupted:
            raise CommandError(f"Interrupted.{_go_on(rows)}", returncode=INTERRUPTED)
        _say_failures(rows, _go_on(rows))

    def _display(self, jobs: list[BackfillJob]) -> Display:
        return Display(self.stdout, [str(job) for job in jobs], quiet=self._json)


def _refuse_nonsense(options: dict[str, Any]) -> None:
    given = {name for name in (*WISH, *WAYS) if options[name]}
    ways = [text for name, text in WAYS.items() if name in given]
    if options["resume"] and given:
        raise Rejected("--resume takes everything from the jobs, so it goes with nothing else.")
    if len(ways) > 1:
        raise Rejected(f"{ways[0]} and {ways[1]} are two different things: choose one.")
    if options["all"] and options["symbols"]:
        raise Rejected("--all means every active symbol, so name none besides.")
    if options["days"] is not None and given & {"bars", "start", "end"}:
        raise Rejected("--days counts back from now, so it goes with none of --bars, --from and --to.")
    if options["days"] is not None and not 1 <= options["days"] <= LONGEST_DAYS:
        raise Rejected(f"The number of days must be between 1 and {LONGEST_DAYS:,}, not {options['days']:,}.")
    if options["gaps"] and (options["bars"] is not None or given & {"days", "force", "verify"}):
        raise Rejected("--gaps fills what is missing inside a series, so only --from and --to may limit it.")
    if options["force"] and options["verify"]:
        raise Rejected("--verify reads the source anyway, so --force means nothing with it.")
    if options["parallel"] is not None and options["background"]:
        raise Rejected("--background leaves the work to the worker, so --parallel means nothing with it.")
    if options["parallel"] is not None and not 1 <= options["parallel"] <= MOST_AT_ONCE:
        raise Rejected(f"--parallel takes a number between 1 and {MOST_AT_ONCE}, not {options['parallel']}.")


def _jobs(options: dict[str, Any]) -> list[BackfillJob]:
    """Everything is checked, at the source too unless a plan is all that is wanted, before anything is written."""
    if options["resume"]:
        return job_choice.jobs_of(options["resume"])
    intervals = _intervals(options["interval"])
    amount = _amount(options)
    keys = wishes.keys_of(options["symbols"], options["all"])
    if options["gaps"]:
        return wishes.jobs_of_gaps(series.store(), keys, intervals, amount, Database().now_ms())
    jobs = wishes.jobs_of(keys, intervals or [parse_interval("1m")], amount)
    if not options["dry_run"] and not options["verify"]:
        with get_provider() as provider:
            symbols.make_known(keys, intervals or [parse_interval("1m")], provider)
    return jobs


def _intervals(texts: list[str]) -> list[Interval]:
    names = [name.strip() for text in texts for name in text.split(",")]
    return list(dict.fromkeys(map(parse_interval, names)))


def _amount(options: dict[str, Any]) -> Amount:
    start, end = moment(options["start"], "--from"), moment(options["end"], "--to", whole_day=True)
    if options["days"] is not None:
        start = timezone.now() - timedelta(days=options["days"])
    return Amount(options["bars"], start, end, options["force"])


@contextmanager
def _stopped() -> Iterator[None]:
    """SIGTERM is as Ctrl-C."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:  # while nothing was under way that somebody would go on with
        raise CommandError("Interrupted.", returncode=INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _go_on(rows: list[Row]) -> str:
    """How, where jobs stay behind that can simply go on."""
    ids = " ".join(str(row.job.pk) for row in rows if row.job.state == BackfillJob.State.PAUSED)
    return f" Go on with: manage.py backfill --resume {ids}" if ids else ""


def _say_failures(rows: list[Row] | list[Checked], go_on: str = "") -> None:
    errors = [(row.job, row.error) for row in rows if row.error]
    if not errors:
        return
    job, error = errors[0]
    if len(rows) == 1:
        raise CommandError(f"{error}{go_on}")
    raise CommandError(f"{len(errors)} of {len(rows)} series were not finished. {job}: {error}{go_on}")
