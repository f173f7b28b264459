"""JobScheduler: what the rest of the platform knows of jobs and schedules."""

import ast
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from django.apps import apps
from django.db import IntegrityError

from infrastructure.errors import Rejected, Unavailable
from infrastructure.scheduling import dead, jobs, slots, store
from infrastructure.scheduling.dead import DeadJob
from infrastructure.scheduling.jobs import QueueSize

DEFAULT_QUEUE = "pulls"
DEFINE_TRIES = 10


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule and its last result; `last_*` are None until the first run of the last 30 days has ended."""

    name: str
    func: str
    queue: str
    cron: str | None
    minutes: int | None
    enabled: bool
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_success: bool | None
    last_error: str | None


class JobScheduler:
    """Holds nothing and opens nothing until it is used. Every method raises Unavailable or Rejected.

    A job runs at least once (again, when its worker died), so functions must bear repetition. A job that fails is not
    tried again (`ack_failures`); one that kills its worker is, five times.
    """

    def ensure(self) -> None:
        """The indexes of the queues and results; idempotent."""
        with store.translated():
            jobs.ensure_indexes()

    def enqueue(self, func: str, *args: Any, key: str | None = None, queue: str = DEFAULT_QUEUE, **kwargs: Any) -> str:
        """Has a worker of `queue` call func (a dotted path); gives the job's key.

        Of all jobs with one key only the first is queued, until a week after it is done. Arguments are pickled.
        """
        with store.translated():
            return jobs.submit(queue, func, args, kwargs, key=key)[0]

    def schedule(
        self,
        name: str,
        func: str,
        *,
        cron: str | None = None,
        minutes: int | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        queue: str = DEFAULT_QUEUE,
        slot_kwarg: str | None = None,
    ) -> None:
        """Creates the schedule of this name, or gives it this definition; neither loses nor repeats a slot.

        Arguments are Python literals. `slot_kwarg` names the keyword that receives the slot, ISO 8601 in UTC.
        """
        slots.check(name, cron, minutes)
        jobs.check_queue(queue)
        definition = {
            "func": func,
            "args": _literal(name, args),
            "kwargs": _literal(name, kwargs or {}),
            "schedule_type": "I" if cron is None else "C",
            "cron": cron,
            "minutes": minutes,
            "cluster": queue,
            "intended_date_kwarg": slot_kwarg,
        }
        with store.translated():
            if not any(self._define(name, definition) for _ in range(DEFINE_TRIES)):
                raise Unavailable(f"The schedule {name!r} keeps being changed by others.")

    def _define(self, name: str, definition: dict[str, Any]) -> bool:
        """False when another process (the ticker, most likely) changed the row between the look and the change."""
        cron, minutes = definition["cron"], definition["minutes"]
        rows = _schedules()
        row = rows.filter(name=name).first()
        if row is None:
            start = slots.first(cron, minutes, store.server_now(), None)
            try:  # the name decides the key: two processes cannot both create it, and a new one knows its old slots
                rows.create(pk=_key_of(name), name=name, next_run=start, **definition)
            except IntegrityError:
                return False
            return True
        slot = row.next_run
        if (row.cron, row.minutes) != (cron, minutes):
            definition = {**definition, "next_run": slots.first(cron, minutes, store.server_now(), slot)}
        return bool(rows.filter(pk=row.pk, next_run=slot).update(**definition))

    def unschedule(self, name: str) -> None:
        """Jobs it has queued still run. Nothing happens when there is no such schedule."""
        with store.translated():
            _schedules().filter(name=name).delete()

    def run_now(self, name: str) -> str:
        """Queues one run besides the schedule's own; gives the job's key."""
        with store.translated():
            row = _schedules().filter(name=name).first()
            if row is None:
                raise Rejected(f"There is no schedule {name!r}.")
            return submit_run(row, store.server_now(), key=None)[0]

    def schedules(self) -> list[ScheduleInfo]:
        """All of them, by name."""
        with store.translated():
            rows = list(_schedules())
            results = _last_results([group_of(row) for row in rows])
        return sorted((_info(row, results.get(group_of(row))) for row in rows), key=lambda info: info.name)

    def queue_sizes(self) -> dict[str, QueueSize]:
        """Queue name → how many jobs wait, run (or wait in a cluster's hand), and died in the last week."""
        with store.translated():
            return {name: jobs.size(jobs.queue(name)) for name in jobs.queue_settings()}

    def ended(self, queue: str, keys: Collection[str]) -> dict[str, bool]:
        """Of the jobs with these keys those that nobody will run any more; True where one was given up."""
        with store.translated():
            found = jobs.queue(queue).find({"_id": {"$in": list(keys)}, "done": True}, {"dead": True})
            return {job["_id"]: job.get("dead", False) for job in found}

    def time_limit_s(self, queue: str) -> float:
        """A task that takes longer is ended."""
        jobs.check_queue(queue)
        return float(jobs.queue_settings()[queue]["timeout"])

    def dead_jobs(self) -> list[DeadJob]:
        """Those of all queues that were given up in the last week, the newest of each queue first."""
        with store.translated():
            return [one for name in jobs.queue_settings() for one in dead.listed(name)]

    def try_again(self, queue: str, key: str) -> bool:
        """Of a job that was given up, and drop_dead as well; False where it is not among them any more."""
        with store.translated():
            return dead.try_again(queue, key)

    def drop_dead(self, queue: str, key: str) -> bool:
        with store.translated():
            return dead.drop(queue, key)


def submit_run(row: Any, slot: datetime, *, key: str | None) -> tuple[str, str]:
    """Queues one run of a row of django_q's Schedule; gives (key, task id)."""
    args, kwargs = arguments(row)
    if row.intended_date_kwarg:
        kwargs[row.intended_date_kwarg] = slot.isoformat()
    queue = row.cluster or DEFAULT_QUEUE
    return jobs.submit(queue, row.func, args, kwargs, key=key, group=group_of(row), hook=row.hook)


def arguments(row: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Of a row that a person may have typed in: "1, 2" and "a=1, b='x'" (the admin's help text), or literals."""
    args = ast.literal_eval(row.args) if row.args else ()
    args = args if isinstance(args, tuple) else (args,)
    text = (row.kwargs or "{}").strip()
    return args, ast.literal_eval(text) if text.startswith("{") else _keywords(text)


def _keywords(text: str) -> dict[str, Any]:
    call = ast.parse(f"f({text})", mode="eval").body
    if not isinstance(call, ast.Call) or call.args:
        raise ValueError(f"not keyword arguments: {text}")
    return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}


def group_of(row: Any) -> str:
    return row.name or str(row.pk)


def _key_of(name: str) -> ObjectId:
    return ObjectId(uuid.uuid5(uuid.NAMESPACE_OID, name).bytes[:12])


def _literal(name: str, value: Any) -> str:
    text = repr(value)
    try:
        same = ast.literal_eval(text) == value
    except (ValueError, SyntaxError):
        same = False
    if not same:
        raise Rejected(f"The arguments of the schedule {name!r} must be Python literals, not {text[:100]}.")
    return text


def _schedules() -> Any:
    return apps.get_model("django_q", "Schedule").objects.all()  # importing its models needs Django to be set up


def _last_results(groups: list[str]) -> dict[str, Any]:
    """Group → the newest row of django_q's Task, found through the index of `ensure`."""
    tasks = apps.get_model("django_q", "Task")  # its key is the field `id`, not `_id`
    newest = store.collection(tasks._meta.db_table).aggregate(
        [
            {"$match": {"group": {"$in": groups}}},
            {"$sort": {"group": 1, "stopped": -1}},
            {"$group": {"_id": "$group", "task": {"$first": "$id"}}},
        ]
    )
    return {task.group: task for task in tasks.objects.filter(pk__in=[row["task"] for row in newest])}


def _info(row: Any, result: Any) -> ScheduleInfo:
    failed = result is not None and not result.success
    return ScheduleInfo(
        name=group_of(row),
        func=row.func,
        queue=row.cluster or DEFAULT_QUEUE,
        cron=row.cron if row.schedule_type == row.CRON else None,
        minutes=row.minutes if row.schedule_type == row.MINUTES else None,
        enabled=row.repeats != 0,
        next_run_at=row.next_run,
        last_run_at=result.stopped if result else None,
        last_success=result.success if result else None,
        last_error=str(result.result).partition(" : Traceback")[0] if failed else None,
    )
