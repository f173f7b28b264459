"""One Django-Q cluster and the tick, as a tree of processes that ends whole; `manage.py qcluster` runs it.

    main (this: ticks, watches) ─ sentinel ─ pusher (takes jobs), workers (run them), monitor (stores results)

A tree that loses its sentinel, or whose workers no longer take jobs, ends with exit code 1: its supervisor starts
another, and what it left unfinished is given back at once.
"""

import logging
import signal
import time
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from threading import Thread
from typing import Any

from django_q.cluster import Cluster
from django_q.conf import Conf

from infrastructure import forks
from infrastructure.errors import InfrastructureError
from infrastructure.scheduling import jobs, journal, store
from infrastructure.scheduling.broker import JobBroker
from infrastructure.scheduling.ticker import tick

logger = logging.getLogger(__name__)

TICK_S = 1.0
STEP_S = 0.1
#: MongoDB away: give up soon, look whether to stop, try again.
DATABASE_LIMIT_S = 2.0
#: What running tasks get to finish when the cluster is stopped; then they are killed and given back.
GRACE_S = 5.0
#: The pusher waits at most for one task (`timeout`); longer than this beyond it, and no worker takes jobs any more.
STALL_MARGIN_S = 15.0


def run() -> int:
    """Works until SIGTERM or SIGINT; gives the exit code. Rejected when Q_CLUSTER_NAME names no queue."""
    jobs.check_queue(Conf.CLUSTER_NAME)
    forks.install()
    journal.install()
    cluster = Cluster()
    stop = _stop_requests()
    JobBroker.pulse = RawValue("d", time.monotonic())
    try:
        cluster.start()
    except RuntimeError as error:  # the sentinel died before it was ready
        logger.error("%s", error)
        return 1
    logger.info("queue %s: %s workers, schedules looked at every second", Conf.CLUSTER_NAME, Conf.WORKERS)
    try:
        _watch(cluster.sentinel, stop)
    finally:  # whatever happens: a main process that ends without this waits for its sentinel for ever
        _end(cluster, orderly=bool(stop))
    return 0 if stop else 1


def _stop_requests() -> list[int]:
    """Filled by the signals. Set after Cluster(): its own handlers wait for the sentinel inside the handler."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: received.append(signum))
    return received


def _watch(sentinel: BaseProcess, stop: list[int]) -> None:
    upkeep = Upkeep(JobBroker())
    due = 0.0
    while not stop and sentinel.is_alive():
        if _stalled():
            logger.error("queue %s: the workers take no jobs any more, starting anew", Conf.CLUSTER_NAME)
            return
        if time.monotonic() >= due:
            due = time.monotonic() + TICK_S
            upkeep.once()
        time.sleep(STEP_S)


def _stalled() -> bool:
    """A worker killed while it waited for a job took the lock of Django-Q's task queue with it: no other worker gets
    one any more, and the pusher hangs with the job it cannot hand over."""
    pulse = JobBroker.pulse
    return pulse is not None and time.monotonic() - pulse.value > Conf.TIMEOUT + STALL_MARGIN_S


class Upkeep:
    """What the main process does in MongoDB once a second."""

    def __init__(self, broker: JobBroker) -> None:
        self._broker = broker
        self._outage = store.Outage("MongoDB")
        self._prepared = False

    def once(self) -> None:
        try:
            with store.at_most(DATABASE_LIMIT_S):
                if not self._prepared:
                    self._prepare()
                tick()
        except Exception as error:  # noqa: BLE001  the workers go on whatever happens here; said once, with traceback
            self._outage.failed(error)
        else:
            self._outage.over()

    def _prepare(self) -> None:
        jobs.ensure_indexes()
        given_back = jobs.release_orphans(self._broker.jobs)
        if given_back:
            logger.warning("queue %s: %s job(s) of killed clusters given back", self._broker.list_key, given_back)
        self._prepared = True


def _end(cluster: Any, *, orderly: bool) -> None:
    """What Cluster.stop() does, with a bound."""
    sentinel: BaseProcess = cluster.sentinel
    owner = jobs.owner_of(sentinel.pid or 0)
    if orderly:
        # In a thread: Event.set() waits for the sentinel to wake, and would for ever if that was killed meanwhile.
        Thread(target=cluster.stop_event.set, daemon=True).start()
        sentinel.join(GRACE_S)
    if sentinel.is_alive():
        sentinel.kill()  # the rest of the tree dies with it (infrastructure.forks)
    sentinel.join()
    given_back = _give_back(owner, refund=orderly) if sentinel.exitcode else 0
    logger.info("queue %s ended, %s unfinished job(s) given back", Conf.CLUSTER_NAME, given_back)


def _give_back(owner: str, *, refund: bool) -> int:
    try:
        with store.at_most(DATABASE_LIMIT_S):
            return jobs.release(JobBroker().jobs, owner, refund=refund)
    except InfrastructureError as error:
        logger.warning("unfinished jobs are delivered again in %s s: %s", Conf.RETRY, error)
        return 0
