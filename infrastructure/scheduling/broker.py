"""Django-Q's side of a queue (`Q_CLUSTER["broker_class"]`): its pusher, monitor and sentinel call this.

No method raises for an absent store where Django-Q would let a process die of it. An instance crosses forks, so it
holds no client.
"""

import logging
import os
import time
from ctypes import c_double
from typing import Any, ClassVar

from bson import ObjectId
from django_q.brokers import Broker
from django_q.conf import Conf
from pymongo.collection import Collection
from redis.exceptions import RedisError

from infrastructure.errors import InfrastructureError, Unavailable
from infrastructure.scheduling import jobs, store

logger = logging.getLogger(__name__)

#: A job whose worker died this often is not tried again: it is marked dead.
MAX_DELIVERIES = 5
POLL_LIMIT_S = 2.0
OUTAGE_PAUSE_S = 1.0
CLOSE_LIMIT_S = 5.0
STATISTICS_PAUSE_S = 5.0


class JobBroker(Broker):
    #: Set by `qcluster` before it forks, shared by its tree: when the pusher last came for a job (time.monotonic).
    pulse: ClassVar[c_double | None] = None

    def __init__(self, list_key: str | None = None) -> None:
        super().__init__(list_key)
        self._database = store.Outage("MongoDB")
        self._statistics = store.Outage("Redis")
        self._statistics_pause = 0.0

    @property
    def jobs(self) -> Collection[dict[str, Any]]:
        return jobs.queue(self.list_key)

    def ping(self) -> bool:
        return True

    def info(self) -> str:
        return f"jobs_{self.list_key} in MongoDB"

    def enqueue(self, payload: str) -> str:
        """For Django-Q's own callers (`async_task`, the admin's "resubmit"); raises like JobScheduler.enqueue."""
        key = str(ObjectId())
        with store.translated():
            jobs.insert(self.jobs, key, payload)
        return key

    def dequeue(self) -> list[tuple[str, str]] | None:
        """[(key, payload)], or None after a short pause."""
        if self.pulse is not None:
            self.pulse.value = time.monotonic()
        try:
            with store.at_most(POLL_LIMIT_S):
                # The receipt lasts as long as the queue that runs it says. The pusher is a child of the sentinel.
                job = jobs.take(self.jobs, jobs.owner_of(os.getppid()), Conf.RETRY)
        except InfrastructureError as error:
            self._database.failed(error)
            time.sleep(OUTAGE_PAUSE_S)
            return None
        self._database.over()
        if job is None:
            time.sleep(Conf.POLL)
            return None
        if job["deliveries"] > MAX_DELIVERIES:
            logger.error("job %s is dead: no worker survived it in %s tries", job["_id"], MAX_DELIVERIES)
            self.fail(job["_id"])
            return None
        return [(job["_id"], job["payload"])]

    def acknowledge(self, key: str) -> None:
        self._close(key)

    def delete(self, key: str) -> None:
        self._close(key)

    def fail(self, key: str) -> None:
        """No further try: the payload cannot be read, or no worker survived it."""
        self._close(key, dead=True)

    def _close(self, key: str, **marks: Any) -> None:
        try:
            with store.at_most(CLOSE_LIMIT_S):
                jobs.close(self.jobs, key, **marks)
        except InfrastructureError as error:
            logger.warning("job %s could not be closed and will run once more: %s", key, error)

    def queue_size(self) -> int:
        with store.translated():
            return self.jobs.count_documents(jobs.WAITING)

    def lock_size(self) -> int:
        with store.translated():
            return self.jobs.count_documents(jobs.RUNNING)

    def purge_queue(self) -> int:
        """Done documents stay: their keys still count."""
        with store.translated():
            return self.jobs.delete_many(jobs.OPEN).deleted_count

    delete_queue = purge_queue

    def set_stat(self, key: str, value: str, timeout: int) -> None:
        """The cluster's state for `manage.py qmonitor`, in the Redis cache; a lost Redis costs just that."""
        if time.monotonic() < self._statistics_pause:
            return
        try:
            super().set_stat(key, value, timeout)
        except (RedisError, OSError) as error:
            self._statistics.failed(Unavailable(f"Redis did not answer, no statistics of this cluster: {error}"))
            self._statistics_pause = time.monotonic() + STATISTICS_PAUSE_S
        else:
            self._statistics.over()
