"""A BackfillJob from the source into the bar store, each page stored and checkpointed before the next is asked for.
Used by `manage.py backfill` in its own process and by the worker. An identical run asks for nothing."""

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from django.utils import timezone

from infrastructure.errors import InfrastructureError, Unavailable
from infrastructure.persistence import BarStore, Database, Written, mongodb_errors
from infrastructure.scheduling import JobScheduler
from infrastructure.times import from_ms
from infrastructure.tradingview.base import History
from infrastructure.tradingview.budget import Busy, because, turns_until
from marketdata.models import BackfillJob
from marketdata.providers import IDataProvider, get_provider
from marketdata.services import backfill_jobs
from marketdata.services.backfill_jobs import State
from marketdata.services.errands import Errand
from marketdata.services.planning import Ask
from marketdata.services.reloads import Reload
from marketdata.services.series import store
from marketdata.services.upstream import UpstreamOff

logger = logging.getLogger(__name__)

TASK_SHARE = 1 / 3  # of the time its queue gives a task, after which it hands over: a page may take as long again
#: Of a process's jobs so many deal with the stores at a time: more would take as long, and more memory.
_AT_THE_STORES = threading.BoundedSemaphore(2)


class Interrupted(Exception):
    """The job was paused or cancelled, or somebody else works on it now."""


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one page."""

    bars: int = 0
    new: int = 0
    corrected: int = 0
    documents: int = 0


def run(
    job: BackfillJob,
    provider: IDataProvider,
    bars: BarStore,
    *,
    now_ms: int | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    is_late: Callable[[], bool] = lambda: False,
    when_away: BackfillJob.State = State.PAUSED,
) -> bool:
    """Works on a RUNNING job until nothing of its wish is missing; False where `is_late` stopped it between two pages.

    What the series was asked for and has received is not asked for again: a finished job repeated makes no request.
    Errors leave it in the state that says what can be done about it (`when_away`: of a source or store that does not
    answer), and are raised; so is Interrupted. `now_ms` is the present, of the store's clock unless given.
    """
    with _bookkeeping(job, when_away), because("backfill" if job.revision is None else "reload"):
        kind = Errand if job.revision is None else Reload
        with _AT_THE_STORES:
            errand = kind(job, bars, Database().now_ms() if now_ms is None else now_ms)
        while ask := _next(errand):
            for step in _fetched(errand, ask, provider):
                on_step(step)
                if is_late() and _next(errand):
                    return False
        errand.complete()
        _checkpoint(job, state=State.DONE, finished_at=timezone.now())
    logger.info("%s: backfilled, %s bars received, %s new", job, job.received, job.new)
    return True


def _next(errand: Errand) -> Ask | None:
    with _AT_THE_STORES:
        return errand.next()


def _fetched(errand: Errand, ask: Ask, provider: IDataProvider) -> Generator[Step]:
    """Each page is stored, then noted as covered, then checkpointed, before the next one is asked for."""
    job, interval = errand.job, errand.interval
    pages = provider.pages(job.symbol, interval, bars=ask.bars, start_ms=ask.start_ms, end_ms=ask.end_ms)
    with closing(pages) as pages:  # type: ignore[type-var]  # a generator in all but name
        for page in pages:
            with _AT_THE_STORES:
                if not backfill_jobs.is_running(job):  # a person may have stopped it while this page was on its way
                    raise Interrupted(f"{job} is {job.state}.")
                step = _noted(job, page, errand.store(ask, page), errand.held)
            yield step
    errand.finish(ask)


def work(job_id: str, run_number: int, monotonic: Callable[[], float] = time.monotonic) -> str:
    """The worker's task: a stretch of a job, then the next task; says what became of it."""
    with mongodb_errors():
        job = BackfillJob.objects.filter(pk=job_id, run=run_number).first()
    if job is None or not backfill_jobs.take(job):
        return "nothing to do: the job was stopped or handed over"
    requests = job.requests
    deadline = monotonic() + JobScheduler().time_limit_s(backfill_jobs.QUEUE) * TASK_SHARE
    try:
        with turns_until(deadline), get_provider() as provider:
            done = run(job, provider, store(), is_late=lambda: monotonic() > deadline, when_away=State.QUEUED)
    except Interrupted as end:
        return str(end)
    except UpstreamOff as off:
        return f"paused: {off}"
    except Busy as busy:
        if job.requests > requests:  # the next task may get the turn; without a page they would only take turns
            backfill_jobs.enqueue(job)
        return f"waits: {busy}"
    if not done:
        backfill_jobs.hand_over(job)
    return f"{job.received} bars received, {job.new} new, {job.corrected} corrected"


def _noted(job: BackfillJob, page: History, written: Written, held: int) -> Step:
    step = Step(len(page.bars), written.new, written.corrected, written.documents)
    now = timezone.now()
    _checkpoint(
        job,
        received=job.received + step.bars,
        new=job.new + step.new,
        corrected=job.corrected + step.corrected,
        documents=job.documents + step.documents,
        requests=job.requests + 1,
        reached_at=from_ms(int(page.bars.time_ms[0])) if step.bars else job.reached_at,
        ended=page.ended,
        failures=0,
        error="",
        held=held,
        worked_s=job.worked_s + max((now - (job.beat_at or now)).total_seconds(), 0.0),
        beat_at=now,
    )
    return step


def _checkpoint(job: BackfillJob, **changes: object) -> None:
    # `requests` too: a task that was delivered twice must not count twice.
    if not backfill_jobs.advance(job, (State.RUNNING,), where={"requests": job.requests}, **changes):
        raise Interrupted(f"{job} is {job.state}, or somebody else works on it.")


@contextmanager
def _bookkeeping(job: BackfillJob, when_away: BackfillJob.State) -> Iterator[None]:
    """Whatever ends the work is written into the job, as far as the store can be reached; then it is raised."""
    try:
        yield
    except Interrupted:
        raise
    except UpstreamOff as error:
        _stopped(job, State.PAUSED, error)
        raise
    except Busy as error:
        _stopped(job, when_away, error, failed=False)
        raise
    except (Unavailable, SystemExit) as error:  # Django-Q ends a task that takes too long with a SystemExit
        _stopped(job, when_away, error)
        raise
    except KeyboardInterrupt:
        _stopped(job, State.PAUSED, "Interrupted.")
        raise
    except BaseException as error:  # our mistakes too: a job must not look as if somebody worked on it
        _stopped(job, State.FAILED, error)
        raise


def _stopped(job: BackfillJob, state: BackfillJob.State, error: BaseException | str, *, failed: bool = True) -> None:
    try:
        backfill_jobs.stopped(job, state, str(error), failed=failed)
    except InfrastructureError as unsaid:  # the store is away: `tend` finds the job later
        logger.warning("%s: %s, and the job could not be marked: %s", job, error, unsaid)
