"""A job becomes one document of `jobs_<queue>`: JobScheduler and the ticker submit it, JobBroker hands it out.

{_id: key, payload, done, deliveries, enqueued_at, visible_at[, owner][, expires_at][, dead]}: a delivered job is hidden
until `visible_at`, and delivered again then unless it was closed before. All times are the database's.
"""

import contextlib
import os
import socket
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from bson import ObjectId
from django.conf import settings
from django.utils import timezone
from django_q.signing import SignedPackage
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from infrastructure.errors import Rejected, Unavailable
from infrastructure.scheduling import store

#: Open jobs a queue holds; beyond it `submit` refuses.
CAPACITY = 10_000
#: How long a finished job's key still refuses a second job (of a late process, of a second click).
KEEP_DONE = timedelta(days=7)
#: How long results (rows of django_q's Task) are kept: failures would pile up for ever.
KEEP_RESULTS = timedelta(days=30)

OPEN: dict[str, Any] = {"done": False}
WAITING: dict[str, Any] = {"done": False, "$expr": {"$lte": ["$visible_at", "$$NOW"]}}
RUNNING: dict[str, Any] = {"done": False, "$expr": {"$gt": ["$visible_at", "$$NOW"]}}


class QueueFull(Unavailable):
    """The job was not queued. The ticker skips the slot; others try again later."""


class QueueSize(NamedTuple):
    waiting: int
    running: int
    dead: int


def queue_settings() -> dict[str, dict[str, Any]]:
    """Queue name → its settings of Q_CLUSTER, those of ALT_CLUSTERS merged in; the default queue first."""
    configured: dict[str, Any] = settings.Q_CLUSTER
    common = {name: value for name, value in configured.items() if name != "ALT_CLUSTERS"}
    others = configured.get("ALT_CLUSTERS", {})
    return {common["name"]: common, **{name: {**common, **own} for name, own in others.items()}}


def check_queue(name: str) -> None:
    if name not in queue_settings():
        raise Rejected(f"There is no queue {name!r}, only {', '.join(queue_settings())}.")


def queue(name: str) -> Collection[dict[str, Any]]:
    check_queue(name)
    return store.collection(f"jobs_{name}")


def ensure_indexes() -> None:
    """Idempotent; every cluster calls it at its start, and `manage.py prepare`."""
    for jobs in map(queue, queue_settings()):
        jobs.create_index([("done", 1), ("visible_at", 1)])
        jobs.create_index("expires_at", expireAfterSeconds=0)
        jobs.create_index("dead", sparse=True)
    results = store.collection("django_q_task")
    results.create_index("id")  # django_q's key for it, which this backend does not make the `_id`
    results.create_index([("group", 1), ("stopped", -1)])
    results.create_index("stopped", expireAfterSeconds=int(KEEP_RESULTS.total_seconds()))


def submit(
    queue_name: str,
    func: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    key: str | None = None,
    group: str | None = None,
    hook: str | None = None,
) -> tuple[str, str]:
    """Queues func(*args, **kwargs), unless a job with this key is queued, running or done; gives (key, task id).

    The package is made here and not by django_q's `async_task`: that one takes keywords named `timeout` or `group` for
    options of its own, and gives a repeated slot another task id each time.
    """
    key = key or str(ObjectId())
    task_id = task_id_of(key)
    package = {
        "id": task_id,
        "name": key[:100],
        "func": func,
        "args": args,
        "kwargs": kwargs,
        "group": (group or func)[:100],
        "hook": hook,
        "cluster": queue_name,
        "started": timezone.now(),
        # Of the queue that will run it, whichever cluster enqueues it.
        "ack_failure": queue_settings().get(queue_name, {}).get("ack_failures", False),
    }
    jobs = queue(queue_name)
    if jobs.count_documents(OPEN, limit=CAPACITY) == CAPACITY:
        raise QueueFull(f"The queue {queue_name} is full: {CAPACITY} jobs wait.")
    insert(jobs, key, SignedPackage.dumps(package))
    return key, task_id


def task_id_of(key: str) -> str:
    """Of django_q's Task, in which the result of the job with this key is kept."""
    return uuid.uuid5(uuid.NAMESPACE_OID, key).hex


def insert(jobs: Collection[dict[str, Any]], key: str, payload: str) -> None:
    """One document per key, whoever comes first; by an update, because only an update can read the server's clock."""
    job = {"_id": key, "payload": payload, "done": False, "deliveries": 0}
    fresh = {"$mergeObjects": [{"$literal": job}, {"enqueued_at": "$$NOW", "visible_at": "$$NOW"}]}
    exists = {"$eq": [{"$type": "$payload"}, "string"]}
    with contextlib.suppress(DuplicateKeyError):  # another process came between the look and the insert
        jobs.update_one({"_id": key}, [{"$replaceWith": {"$cond": [exists, "$$ROOT", fresh]}}], upsert=True)


def take(jobs: Collection[dict[str, Any]], owner: str, lease_s: float) -> dict[str, Any] | None:
    """The job that has waited longest, hidden from others for `lease_s`; None when there is none."""
    lease = {"visible_at": _later(lease_s), "deliveries": {"$add": ["$deliveries", 1]}, "owner": owner}
    return jobs.find_one_and_update(WAITING, [{"$set": lease}], sort=[("visible_at", 1)], return_document=True)


def close(jobs: Collection[dict[str, Any]], key: str, **marks: Any) -> None:
    """The document stays for KEEP_DONE, so that its key refuses a second job."""
    jobs.update_one({"_id": key}, [{"$set": {"done": True, "expires_at": _later(KEEP_DONE.total_seconds()), **marks}}])


def _later(seconds: float) -> dict[str, Any]:
    return {"$add": ["$$NOW", int(seconds * 1000)]}


def owner_of(pid: int) -> str:
    """Names the cluster whose sentinel has this pid: its jobs are given back when it is gone."""
    return f"{_process_space()}:{pid}"


def release(jobs: Collection[dict[str, Any]], owner: str, *, refund: bool) -> int:
    """Makes the open jobs of a cluster that is gone visible at once; `refund`: that delivery does not count."""
    given_back = {"visible_at": "$enqueued_at", "deliveries": {"$subtract": ["$deliveries", int(refund)]}}
    return jobs.update_many({**OPEN, "owner": owner}, [{"$set": given_back}, {"$unset": "owner"}]).modified_count


def release_orphans(jobs: Collection[dict[str, Any]]) -> int:
    """The same for clusters of this host whose sentinel no longer runs: after kill -9 nobody else does it."""
    here = f"{_process_space()}:"
    owners = [owner for owner in jobs.distinct("owner", OPEN) if owner.startswith(here)]
    gone = [owner for owner in owners if not _is_alive(int(owner.removeprefix(here)))]
    return sum(release(jobs, owner, refund=False) for owner in gone)


def size(jobs: Collection[dict[str, Any]]) -> QueueSize:
    return QueueSize(*(jobs.count_documents(which) for which in (WAITING, RUNNING, {"dead": True})))


def _process_space() -> str:
    """This host, as far as a process id means the same: containers may share a host name but not these ids."""
    try:
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        namespace = "-"
    return f"{socket.gethostname()}/{namespace}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
