"""The life of a BackfillJob: made, queued, handed over, paused, noticed when nobody works on it. Used by the backfill
itself, the command, the admin and the schedule that tends jobs.

Every change is a compare-and-swap on the job's state and its `run` number: whoever holds an older one changes nothing.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from infrastructure.errors import Rejected
from infrastructure.persistence import Database, mongodb_errors
from infrastructure.persistence.mongodb import Document
from infrastructure.scheduling import JobScheduler
from infrastructure.times import to_ms
from marketdata.models import BackfillJob

logger = logging.getLogger(__name__)

State = BackfillJob.State
TABLE = BackfillJob._meta.db_table
QUEUE = "backfills"
TASK = "marketdata.tasks.run_backfill"
MAX_BARS = 10_000_000
MAX_FAILURES = 8  # in a row, of a source or store that is away: about two hours; then a person must act
STALLED = timedelta(minutes=5)  # longer than any page takes
SOON = timedelta(minutes=1)  # queued, and its queue entry may be on its way
KEPT = timedelta(days=30)
RESERVED = "Waits for its turn in a command."
TENDED = 1000  # jobs looked after at a time
WAITING = (State.QUEUED, State.RUNNING)
RESUMABLE = (State.PAUSED, State.FAILED, State.CANCELLED)
OVER = (State.DONE, State.FAILED, State.CANCELLED)


def check_wish(bars: int | None, start: datetime | None, end: datetime | None) -> None:
    """Rejected with the reason where nobody could carry it out."""
    if bars is None and start is None:
        raise Rejected("Say how much: a number of bars, or the time to begin from.")
    if bars is not None and (start is not None or end is not None):
        raise Rejected("A number of bars counts back from now, so it goes with neither a beginning nor an end.")
    if bars is not None and not 1 <= bars <= MAX_BARS:
        raise Rejected(f"The number of bars must be between 1 and {MAX_BARS:,}, not {bars:,}.")
    if start is not None and start >= (end or timezone.now()):
        until = f"the end, {end:%Y-%m-%d %H:%M} UTC" if end else "now"
        raise Rejected(f"The beginning, {start:%Y-%m-%d %H:%M} UTC, is not before {until}.")


def advance(
    job: BackfillJob, states: Sequence[BackfillJob.State], *, where: Mapping[str, Any] | None = None, **changes: Any
) -> bool:
    """Changes the stored job and this object if it still is in one of the states; else reads it anew and says False."""
    with mongodb_errors():
        wanted = {**_present(job, states), **(where or {})}
        if not Database().collection(TABLE).update_one(wanted, {"$set": changes}).matched_count:
            job.refresh_from_db()
            return False
    for name, value in changes.items():
        setattr(job, name, value)
    return True


def _present(job: BackfillJob, states: Sequence[BackfillJob.State]) -> Document:
    """What is asked and changed with each page goes past the ORM, which takes several times as long."""
    return {"_id": job.pk, "run": job.run, "state": {"$in": list(states)}}


@mongodb_errors()
def reserve(job: BackfillJob) -> None:
    """For the calling process, which begins with it later: a new job, or one that stopped or waits for a worker.
    Rejected where somebody works on it, or it is done. Should the process die, it can be resumed as any paused one."""
    if job.pk is None:
        job.state, job.error = State.PAUSED, RESERVED
        job.save()
    elif not _hand_over(job, State.PAUSED, (*RESUMABLE, State.QUEUED)):
        raise Rejected(f"The job {job.pk} ({job}) is {job.state}.")


def begin(job: BackfillJob) -> bool:
    """With one that it has reserved, or that stopped while it worked on it; False where somebody changed it since."""
    now = timezone.now()
    return advance(job, (State.PAUSED,), state=State.RUNNING, error="", started_at=job.started_at or now, beat_at=now)


def interrupt(job: BackfillJob) -> BackfillJob:
    """The process that works on it, or has reserved it, ends: its next step changes nothing. Gives it as it is now."""
    with mongodb_errors():
        found = BackfillJob.objects.get(pk=job.pk)
    unfinished = (State.RUNNING, State.PAUSED)
    advance(found, unfinished, state=State.PAUSED, error="Interrupted.", run=found.run + 1, beat_at=timezone.now())
    return found


def take(job: BackfillJob) -> bool:
    """A worker begins with what it was handed over; False where that is not its business any more."""
    now = timezone.now()
    return advance(job, WAITING, state=State.RUNNING, started_at=job.started_at or now, beat_at=now)


@mongodb_errors()
def is_running(job: BackfillJob) -> bool:
    """Whether it still is the caller's to work on; if not, the object says what became of it."""
    if Database().collection(TABLE).find_one(_present(job, (State.RUNNING,)), {"_id": 1}):
        return True
    job.refresh_from_db()
    return False


@mongodb_errors()
def enqueue(job: BackfillJob) -> None:
    """Saves a new job; has the worker of the backfills queue run a queued one, once however often this is called."""
    if job.pk is None:
        job.save()
    JobScheduler().enqueue(TASK, str(job.pk), job.run, key=_key(job), queue=QUEUE)


def _key(job: BackfillJob) -> str:
    return f"backfill:{job.pk}:{job.run}"


def hand_over(job: BackfillJob) -> bool:
    """A worker that must stop between two pages leaves the rest to the next one."""
    return _requeued(job, (State.RUNNING,))


def requeue(job: BackfillJob) -> bool:
    """A paused, failed or cancelled job goes on where it stopped; False for any other."""
    return _requeued(job, RESUMABLE)


def _requeued(job: BackfillJob, states: Sequence[BackfillJob.State]) -> bool:
    if not _hand_over(job, State.QUEUED, states):
        return False
    enqueue(job)
    return True


def _hand_over(job: BackfillJob, state: BackfillJob.State, states: Sequence[BackfillJob.State]) -> bool:
    now = timezone.now()
    return advance(job, states, state=state, run=job.run + 1, failures=0, error="", beat_at=now, finished_at=None)


def pause(job: BackfillJob) -> bool:
    """Whoever works on it notices with its next page. False where there is nothing to pause."""
    return advance(job, WAITING, state=State.PAUSED)


def cancel(job: BackfillJob) -> bool:
    return advance(job, (*WAITING, State.PAUSED), state=State.CANCELLED, finished_at=timezone.now())


def stopped(job: BackfillJob, state: BackfillJob.State, error: str, *, failed: bool = True) -> bool:
    """Work on it ended with an error. One that is queued again waits for `tend`, longer each time it failed."""
    failures = job.failures + int(failed)
    if state == State.QUEUED and failures >= MAX_FAILURES:
        state = State.FAILED
    now = timezone.now()
    changes: dict[str, Any] = {"state": state, "error": error[:500], "failures": failures, "run": job.run + 1}
    if state in OVER:
        changes["finished_at"] = now
    return advance(job, (State.RUNNING,), beat_at=now, **changes)


@mongodb_errors()
def tend(now: datetime) -> int:
    """Jobs nobody works on are queued again, those that waited long enough are tried again, those whose workers died
    of them fail, old ones are deleted; gives how many were queued."""
    waiting = list(BackfillJob.objects.filter(state__in=WAITING).order_by("pk")[:TENDED])
    ended = JobScheduler().ended(QUEUE, [_key(job) for job in waiting])
    queued = 0
    for job in waiting:
        if ended.get(_key(job)):
            _given_up(job, now)
            continue
        beat = job.beat_at or job.created_at
        if job.state == State.RUNNING and beat < now - STALLED:
            logger.warning("%s: nobody works on it any more", job)
            stopped(job, State.QUEUED, "Nobody worked on it any more.")
        elif job.state == State.QUEUED and beat < now - max(SOON, _rest(job)):
            if _key(job) in ended:  # its queue entry came to nothing
                advance(job, (State.QUEUED,), run=job.run + 1, beat_at=now)
            enqueue(job)
            queued += 1
    BackfillJob.objects.filter(state__in=OVER, finished_at__lt=now - KEPT).delete()
    return queued


def _rest(job: BackfillJob) -> timedelta:
    return timedelta(minutes=2 ** (job.failures - 1) if job.failures else 0)


def _given_up(job: BackfillJob, now: datetime) -> None:
    logger.error("%s: no worker survived it", job)
    error = "Every worker that was given it died of it: see their log before it is resumed."
    advance(job, WAITING, state=State.FAILED, error=error, run=job.run + 1, finished_at=now)


@dataclass(frozen=True, slots=True)
class Progress:
    """`share` of the wish, 0 to 1: by bars, or by time for a range. `rate` in bars a second of the time that was worked
    on it, `eta_s` in seconds of such time: None before the first page, and once the job is over."""

    share: float
    bars: int
    reached_at: datetime | None
    rate: float | None
    eta_s: float | None


def progress(job: BackfillJob, now: datetime) -> Progress:
    """How far it is and when it will be done if it goes on as it did. Pure."""
    share = _share(job, now)
    rate = job.received / job.worked_s if job.received and job.worked_s else None
    eta_s = None
    if rate and share and job.state not in OVER:
        eta_s = job.worked_s * (1 - share) / share if job.bars is None else (1 - share) * job.bars / rate
    return Progress(share, job.received, job.reached_at, rate, eta_s)


def _share(job: BackfillJob, now: datetime) -> float:
    if job.state == State.DONE or job.ended:
        return 1.0
    if job.bars is not None:
        return min((job.held + job.received) / job.bars, 1.0)
    if job.reached_at is None or job.start_at is None:
        return 0.0
    end = to_ms(job.end_at or now)
    start = to_ms(job.start_at)
    return min(max((end - to_ms(job.reached_at)) / max(end - start, 1), 0.0), 1.0)
