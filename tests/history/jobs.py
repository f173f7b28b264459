"""A backfill job that the test itself works on."""

from marketdata.models import BackfillJob
from marketdata.services import backfill_jobs


def start_here(job: BackfillJob) -> None:
    backfill_jobs.reserve(job)
    assert backfill_jobs.begin(job)
