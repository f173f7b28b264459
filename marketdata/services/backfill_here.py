"""Backfill jobs worked on in the calling process, several at once, patient with a source that is away for a moment.
Used by `manage.py backfill`.

Bound: a source or store that is away is tried again, `TRIES` times without a page between them.
"""

import logging
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone

from infrastructure.backoff import Backoff
from infrastructure.errors import InfrastructureError, Unavailable
from marketdata.models import BackfillJob
from marketdata.providers import IDataProvider
from marketdata.services import backfill, backfill_jobs
from marketdata.services.backfill import Interrupted, Step
from marketdata.services.backfill_jobs import Progress
from marketdata.services.series import store
from marketdata.services.side_by_side import SideBySide, Tell

logger = logging.getLogger(__name__)

TRIES = 3
LONGEST_REST_S = 60.0
REST = Backoff(first_s=1, factor=2, ceiling_s=LONGEST_REST_S, jitter=0.2)


@dataclass(frozen=True, slots=True)
class Paged:
    """Told after each page."""

    step: Step
    progress: Progress


def working(jobs: Sequence[BackfillJob], at_once: int) -> SideBySide[None]:
    """On jobs that are reserved for this process."""

    def work(place: int, provider: IDataProvider, tell: Tell) -> None:
        try:
            _patiently(jobs[place], provider, tell, threads.stop)
        except (InfrastructureError, Interrupted):
            raise
        except Exception:
            logger.exception("%s failed", jobs[place])
            raise

    threads = SideBySide(work, len(jobs), at_once)
    return threads


def _patiently(job: BackfillJob, provider: IDataProvider, tell: Tell, stop: threading.Event) -> None:
    def on_step(step: Step) -> None:
        tell(Paged(step, backfill_jobs.progress(job, timezone.now())))

    failures = 0
    while backfill_jobs.begin(job):
        requests = job.requests
        try:
            backfill.run(job, provider, store(), on_step=on_step, is_late=stop.is_set)
            return
        except Unavailable as error:
            failures = 0 if job.requests > requests else failures + 1
            rest_s = error.retry_after_s or REST.delay_s(failures, random.random)
            if failures == TRIES or stop.wait(min(rest_s, LONGEST_REST_S)):
                raise
    raise Interrupted(f"{job} is {job.state}.")
