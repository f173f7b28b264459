"""`manage.py jobs`: backfill jobs and how far they are; pauses, resumes and cancels them."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from infrastructure.errors import Rejected
from infrastructure.persistence import mongodb_errors
from infrastructure.times import to_ms
from marketdata.management.failures import one_sentence
from marketdata.management.moments import iso, shown
from marketdata.management.progress import duration
from marketdata.management.tables import show, show_json
from marketdata.models import BackfillJob
from marketdata.services import backfill_jobs, job_choice
from marketdata.services.backfill_jobs import WAITING, State

HEADINGS = ("job", "series", "wish", "state", "done", "bars", "back to (UTC)", "bars/s", "left", "error")
#: Action → what does it, what is said of it, and the states that "all" means.
ACTIONS: dict[str, tuple[Callable[[BackfillJob], bool], str, tuple[BackfillJob.State, ...]]] = {
    "pause": (backfill_jobs.pause, "paused", WAITING),
    "resume": (backfill_jobs.requeue, "queued for the worker", (State.PAUSED,)),
    "cancel": (backfill_jobs.cancel, "cancelled", (*WAITING, State.PAUSED)),
}


class Command(BaseCommand):
    help = (
        "Lists backfill jobs, newest first, or pauses, resumes or cancels some. The worker goes on with resumed ones; "
        "to go on here: manage.py backfill --resume. Exit code 1 where no job was changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", nargs="?", choices=("list", *ACTIONS), default="list")
        parser.add_argument(
            "which",
            nargs="*",
            metavar="JOB",
            help=f"ids, states ({', '.join(State.values)}), or all; list: any by default",
        )
        parser.add_argument("--limit", type=int, default=50, metavar="N", help="of the newest jobs are listed (50)")
        parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        with one_sentence():
            if options["action"] == "list":
                self._list(options)
            else:
                self._change(options)

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise Rejected(f"--limit takes a number from 1 on, not {options['limit']}.")
        with mongodb_errors():
            found = job_choice.chosen(options["which"], tuple(State)) if options["which"] else BackfillJob.objects.all()
            jobs = list(found[: options["limit"]])
        if options["json"]:
            show_json(self.stdout, list(map(_facts, jobs)))
        else:
            show(self.stdout, HEADINGS, map(_row, jobs), right=(4, 5, 7, 8))

    def _change(self, options: dict[str, Any]) -> None:
        change, done, every = ACTIONS[options["action"]]
        if not options["which"]:
            raise Rejected(f"Say which: ids, states, or all, as in manage.py jobs {options['action']} all.")
        jobs = job_choice.chosen(options["which"], every)
        changed = [job for job in jobs if change(job)]
        if options["json"]:
            show_json(
                self.stdout, {done.split()[0]: [str(job.pk) for job in changed], "untouched": len(jobs) - len(changed)}
            )
        else:
            rest = f", {len(jobs) - len(changed)} in another state left alone" if len(changed) < len(jobs) else ""
            self.stdout.write(f"{len(changed)} {done}{rest}\n", ending="")
        if not changed:
            raise CommandError(f"No job was {done}.")


def _facts(job: BackfillJob) -> dict[str, Any]:
    progress = backfill_jobs.progress(job, timezone.now())
    times = {name: getattr(job, f"{name}_at") for name in ("start", "end", "reached", "created", "beat", "finished")}
    return {
        "job": str(job.pk),
        "symbol": job.symbol,
        "interval": job.interval,
        "bars": job.bars,
        "force": job.force,
        "state": job.state,
        "share": round(progress.share, 4),
        "received": job.received,
        "new": job.new,
        "corrected": job.corrected,
        "requests": job.requests,
        "ended": job.ended or None,
        "rate": progress.rate,
        "eta_s": progress.eta_s,
        "failures": job.failures,
        "error": job.error or None,
        **{f"{name}_at": None if at is None else iso(to_ms(at)) for name, at in times.items()},
    }


def _row(job: BackfillJob) -> tuple[str, ...]:
    progress = backfill_jobs.progress(job, timezone.now())
    return (
        str(job.pk),
        str(job),
        _wish(job),
        job.state,
        f"{progress.share:.0%}",
        f"{job.received:,}",
        "" if job.reached_at is None else shown(to_ms(job.reached_at)),
        "" if progress.rate is None else f"{progress.rate:,.0f}",
        "" if progress.eta_s is None else duration(progress.eta_s),
        job.error,
    )


def _wish(job: BackfillJob) -> str:
    if job.bars is not None:
        return f"{job.bars:,} bars"
    start, end = (None if at is None else to_ms(at) for at in (job.start_at, job.end_at))
    return f"{shown(start)} to {'now' if end is None else shown(end)}"
