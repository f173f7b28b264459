"""When a schedule fires: the slot after a slot, and the first slot of a new or changed schedule. No input or output."""

from datetime import datetime, timedelta
from typing import Any

from croniter import croniter
from croniter.croniter import CroniterError
from django_q.utils import localtime

from infrastructure.errors import Rejected

MAX_MINUTES = 32_767  # PositiveSmallIntegerField


def check(name: str, cron: str | None, minutes: int | None) -> None:
    """A schedule has either a readable cron expression or a number of minutes."""
    if (cron is None) == (minutes is None):
        raise Rejected(f"The schedule {name!r} needs either a cron expression or a number of minutes.")
    if minutes is not None and not 1 <= minutes <= MAX_MINUTES:
        raise Rejected(f"The schedule {name!r} must run every 1 to {MAX_MINUTES} minutes, not every {minutes}.")
    if cron is not None:
        try:
            croniter.expand(cron)
        except CroniterError as error:
            raise Rejected(f"The schedule {name!r} has an unreadable cron expression: {error}") from error


def following(schedule: Any, slot: datetime, now: datetime) -> datetime:
    """The first slot after `now` in the rhythm of `slot`: slots missed meanwhile are coalesced into the one at hand.

    `schedule` is a row of django_q's Schedule; its own calculate_next_run starts a cron from the local clock instead.
    """
    if schedule.schedule_type == schedule.CRON:
        return next_of_cron(schedule.cron, max(slot, now))
    if schedule.schedule_type in (schedule.MINUTES, schedule.HOURLY):
        step = (
            timedelta(hours=1)
            if schedule.schedule_type == schedule.HOURLY
            else timedelta(minutes=schedule.minutes or 1)
        )
        return slot + max((now - slot) // step + 1, 1) * step
    after: datetime = schedule.calculate_next_run(slot)
    while after <= now:
        after = schedule.calculate_next_run(after)
    return after


def first(cron: str | None, minutes: int | None, now: datetime, pending: datetime | None) -> datetime:
    """Where a new or re-timed schedule starts. `pending` is its next slot so far: one that is due stays due, and a
    minutes schedule keeps its phase, so that a new definition neither loses nor repeats a slot."""
    if pending is not None and pending <= now:
        return pending
    if cron is not None:
        return next_of_cron(cron, now)
    if pending is None:
        return now  # a fresh platform does not wait for its first data
    step = timedelta(minutes=minutes or 1)
    return pending - (pending - now - timedelta.resolution) // step * step


def next_of_cron(cron: str, after: datetime) -> datetime:
    """In Django's time zone; a sixth field holds seconds."""
    found: datetime = croniter(cron, localtime(after)).get_next(datetime)
    return found
