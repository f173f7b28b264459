"""Jobs that were given up, for a person to look at: their workers died of them every time, or their payload cannot be
read. Tried again, dropped, or forgotten after a week. Called by JobScheduler."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pymongo
from django.apps import apps
from django_q.signing import BadSignature, SignedPackage

from infrastructure.scheduling import jobs

LISTED = 200  # the newest of each queue
DEAD: dict[str, Any] = {"dead": True}
UNREADABLE = "Its payload cannot be read: it was queued under another SECRET_KEY, or not by this platform."


@dataclass(frozen=True, slots=True)
class DeadJob:
    """`name` is its schedule's, or its function; `call` the function with its arguments, "" where nobody can read them.
    `error` is what the last try said that came to an end, "" if none did: a worker that is killed says nothing."""

    queue: str
    key: str
    name: str
    call: str
    enqueued_at: datetime
    died_at: datetime
    deliveries: int
    error: str


def listed(queue: str) -> list[DeadJob]:
    """The newest first."""
    documents = list(jobs.queue(queue).find(DEAD).sort("expires_at", pymongo.DESCENDING).limit(LISTED))
    ids = {jobs.task_id_of(document["_id"]): document["_id"] for document in documents}
    tasks = apps.get_model("django_q", "Task").objects  # importing its models needs Django to be set up
    errors = {ids[task.id]: str(task.result) for task in tasks.filter(pk__in=list(ids), success=False)}
    return [_read(queue, document, errors.get(document["_id"], "")) for document in documents]


def try_again(queue: str, key: str) -> bool:
    """With all its tries before it; False where it is not, or no longer, among the dead."""
    alive = {"done": False, "deliveries": 0, "visible_at": "$$NOW"}
    change: list[dict[str, Any]] = [{"$set": alive}, {"$unset": ["dead", "expires_at", "owner"]}]
    return bool(jobs.queue(queue).update_one({**DEAD, "_id": key}, change).modified_count)


def drop(queue: str, key: str) -> bool:
    """Its key goes on refusing a second job until the week is over."""
    return bool(jobs.queue(queue).update_one({**DEAD, "_id": key}, {"$unset": DEAD}).modified_count)


def _read(queue: str, document: dict[str, Any], said: str) -> DeadJob:
    name, call, error = document["_id"], "", said.partition(" : Traceback")[0]
    try:
        package = SignedPackage.loads(document["payload"])
    except BadSignature:
        error = UNREADABLE
    else:
        arguments = [*map(repr, package["args"]), *(f"{key}={value!r}" for key, value in package["kwargs"].items())]
        name, call = package["group"], f"{package['func']}({', '.join(arguments)})"
    queued_at, died_at = document["enqueued_at"], document["expires_at"] - jobs.KEEP_DONE
    return DeadJob(
        queue, document["_id"], name, call, _aware(queued_at), _aware(died_at), document["deliveries"], error
    )


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)
