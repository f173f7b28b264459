"""Which backfill jobs a person means: by id, by state, or all. Used by `manage.py jobs` and `manage.py backfill`."""

from collections.abc import Sequence

from infrastructure.errors import Rejected
from infrastructure.persistence import mongodb_errors
from marketdata.models import BackfillJob
from marketdata.services.backfill_jobs import State

ID_LENGTH = 24


@mongodb_errors()
def jobs_of(ids: Sequence[str]) -> list[BackfillJob]:
    """In that order. Rejected where there is no such job."""
    found = {str(job.pk): job for job in BackfillJob.objects.filter(pk__in=list(filter(_is_id, ids)))}
    if missing := [text for text in ids if text not in found]:
        raise Rejected(f"There is no backfill job {missing[0]!r}.")
    return [found[text] for text in dict.fromkeys(ids)]


@mongodb_errors()
def chosen(texts: Sequence[str], every: Sequence[BackfillJob.State]) -> list[BackfillJob]:
    """By ids and states, newest first; "all" stands for the states of `every`."""
    names = {text.lower() for text in texts}
    states = {State(name) for name in names & set(State.values)} | set(every if "all" in names else ())
    by_id = jobs_of([text for text in texts if text.lower() not in {*State.values, "all"}])
    ids = {job.pk for job in by_id}
    by_state = BackfillJob.objects.filter(state__in=states) if states else ()
    return [*by_id, *(job for job in by_state if job.pk not in ids)]


def _is_id(text: str) -> bool:
    return len(text) == ID_LENGTH and all(letter in "0123456789abcdef" for letter in text)
