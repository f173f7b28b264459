"""One look at the schedules; the main process of every cluster calls it once a second, and none of them leads.

A slot becomes one queue document with the key `<schedule>:<slot>`, then `next_run` moves on by compare-and-swap. Who
dies between the two, or wakes up late, does no harm: the key is taken, the swap fails.
"""

import logging
from datetime import datetime, timedelta

from django_q.models import Schedule

from infrastructure.errors import Unavailable
from infrastructure.scheduling import slots, store
from infrastructure.scheduling.jobs import QueueFull
from infrastructure.scheduling.scheduler import group_of, submit_run

logger = logging.getLogger(__name__)

#: When a schedule whose rhythm cannot be read is looked at again.
BROKEN_PAUSE = timedelta(minutes=5)


def tick() -> None:
    """Queues every due slot. Raises Unavailable when MongoDB is away: the next tick does what this one could not."""
    with store.translated():
        now = store.server_now()
        for schedule in Schedule.objects.exclude(repeats=0).filter(next_run__lte=now):
            fire_or_skip(schedule, now)


def fire_or_skip(schedule: Schedule, now: datetime) -> None:
    """A row that cannot fire (its queue is full, a person typed it wrong) loses this slot and stops no other row."""
    try:
        with store.translated():
            fire(schedule, now)
    except Exception as error:
        if isinstance(error, Unavailable) and not isinstance(error, QueueFull):
            raise
        logger.error("schedule %s skips %s: %r", group_of(schedule), schedule.next_run, error)
        _skip(schedule, now)


def fire(schedule: Schedule, now: datetime) -> None:
    slot = schedule.next_run
    once = schedule.schedule_type == Schedule.ONCE
    after: dict[str, object] = {} if once else {"next_run": slots.following(schedule, slot, now)}
    if once or schedule.repeats > 0:  # else untouched: a person may pause the schedule (0) at this very moment
        after["repeats"] = 0 if once else schedule.repeats - 1
    _, task_id = submit_run(schedule, slot, key=f"{schedule.pk}:{slot.isoformat()}")
    if _swap(schedule, task=task_id, **after):
        logger.debug("schedule %s queued %s", group_of(schedule), slot)


def _skip(schedule: Schedule, now: datetime) -> None:
    try:
        after = slots.following(schedule, schedule.next_run, now)
    except Exception:  # noqa: BLE001  whatever is wrong with the row, it is said already
        after = now + BROKEN_PAUSE
    _swap(schedule, next_run=after)


def _swap(schedule: Schedule, **changes: object) -> bool:
    return bool(Schedule.objects.filter(pk=schedule.pk, next_run=schedule.next_run).update(**changes))
