"""Makes an empty database a platform, brings an older one up to date: `manage.py prepare`. Each step may be repeated.

What the first run leaves for an operator to change (samples, schedules) is noted in the collection `setup`, so that a
later run does not bring back what was deleted.
"""

import logging
import secrets
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command

from infrastructure.errors import InfrastructureError
from infrastructure.persistence import BarStore, Database, mongodb_errors
from infrastructure.scheduling import JobScheduler
from marketdata.models import BackfillJob, Symbol
from marketdata.providers import get_provider
from marketdata.services import backfill_jobs, schedules, symbols, watchlist

logger = logging.getLogger(__name__)

ADMIN = "admin"
PASSWORD_BYTES = 12
Say = Callable[[str], None]


def prepare(say: Say) -> None:
    """`say` gets one line for each thing that was done. Raises Unavailable or Rejected of a store."""
    database = Database()
    database.ping()
    with mongodb_errors():
        call_command("migrate", interactive=False, verbosity=0)
    BarStore(database).ensure()
    JobScheduler().ensure()
    _make_admin(say)
    _install_schedules(database, say)
    if settings.MARKETDATA_SOURCE == "simulator":
        _add_samples(database, say)
    say("prepared: collections, indexes and schedules are in place")


@mongodb_errors()
def _make_admin(say: Say) -> None:
    users = User.objects
    if users.filter(is_superuser=True).exists():
        return
    if users.filter(username=ADMIN).exists():
        say(f"no superuser: the user {ADMIN} is none; make one with manage.py createsuperuser")
        return
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    users.create_superuser(ADMIN, password=password)
    say(f"admin account: user {ADMIN}, password {password} (shown this once; change it in the admin)")


@mongodb_errors()
def _install_schedules(database: Database, say: Say) -> None:
    notes = database.collection("setup")
    made = set((notes.find_one({"_id": "schedules"}) or {}).get("names", ()))
    new = schedules.install(made)
    if new:
        notes.update_one({"_id": "schedules"}, {"$set": {"names": sorted(made | new)}}, upsert=True)
        say(f"schedules: {', '.join(sorted(new))}")


@mongodb_errors()
def _add_samples(database: Database, say: Say) -> None:
    notes = database.collection("setup")
    if notes.find_one({"_id": "samples"}):
        return
    for position, key in enumerate(watchlist.SAMPLES, 1):
        _add_sample(key, position)
    try:
        with get_provider() as provider:
            symbols.refresh(provider, watchlist.SAMPLES)
    except InfrastructureError as error:
        say(f"sample symbols have no information yet, a schedule will fetch it: {error}")
    jobs = [_first_history(key, name) for name in watchlist.INTERVALS for key in watchlist.SAMPLES]
    notes.update_one({"_id": "samples"}, {"$set": {"symbols": list(watchlist.SAMPLES)}}, upsert=True)
    say(f"sample symbols: {len(watchlist.SAMPLES)}, with {len(jobs)} backfills of their newest bars queued")


def _add_sample(key: str, position: int) -> None:
    choices = {
        "position": position,
        "collect_intervals": list(watchlist.INTERVALS),
        "stream_intervals": list(watchlist.STREAMED),
    }
    Symbol.objects.get_or_create(pk=key, defaults=choices)


def _first_history(key: str, interval: str) -> BackfillJob:
    wish = {"symbol": key, "interval": interval, "bars": watchlist.FIRST_BARS}
    job = BackfillJob.objects.filter(**wish).first() or BackfillJob(**wish)
    if job.pk is None or job.state == BackfillJob.State.QUEUED:
        backfill_jobs.enqueue(job)
    return job
