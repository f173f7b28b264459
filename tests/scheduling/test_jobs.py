"""The queue documents and JobBroker against the real MongoDB."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import bson.errors
import pymongo.errors
import pytest
from django.db import DatabaseError, connections
from django_q.brokers import get_broker
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from infrastructure.errors import Rejected, Unavailable
from infrastructure.scheduling import JobScheduler, jobs, store
from infrastructure.scheduling.broker import MAX_DELIVERIES, JobBroker
from infrastructure.scheduling.jobs import QueueFull, QueueSize

pytestmark = pytest.mark.usefixtures("scheduler")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def package(payload: str) -> dict[str, object]:
    found = SignedPackage.loads(payload)
    return {name: found[name] for name in ("func", "args", "kwargs", "group", "cluster", "ack_failure")}


def test_a_job_is_handed_out_as_it_was_enqueued(scheduler: JobScheduler) -> None:
    key = scheduler.enqueue("some.task", 1, "two", queue="backfills", timeout=3, group="g", cluster="c")
    [(handed, payload)] = get_broker("backfills").dequeue()
    assert handed == key
    assert package(payload) == {
        "func": "some.task",
        "args": (1, "two"),
        "kwargs": {"timeout": 3, "group": "g", "cluster": "c"},
        "group": "some.task",
        "cluster": "backfills",
        "ack_failure": True,
    }


def test_jobs_are_handed_out_in_their_order_and_once(scheduler: JobScheduler) -> None:
    for key in ("b", "a", "c"):
        scheduler.enqueue("some.task", key=key)
    broker = get_broker()
    assert [broker.dequeue()[0][0] for _ in range(3)] == ["b", "a", "c"]
    assert broker.dequeue() is None


def test_a_key_is_queued_once_while_it_waits_runs_or_is_done(scheduler: JobScheduler) -> None:
    broker = get_broker()
    for step in (lambda: None, broker.dequeue, lambda: broker.acknowledge("k")):
        step()
        assert scheduler.enqueue("some.task", key="k") == "k"
    assert (broker.dequeue(), scheduler.queue_sizes()["pulls"]) == (None, QueueSize(0, 0, 0))


def test_a_done_job_expires_after_a_week(scheduler: JobScheduler) -> None:
    scheduler.enqueue("some.task", key="k")
    get_broker().acknowledge("k")
    [job] = jobs.queue("pulls").find()
    assert job["expires_at"] - job["enqueued_at"] - timedelta(days=7) < timedelta(minutes=1)
    expiring = jobs.queue("pulls").index_information()["expires_at_1"]
    assert expiring["expireAfterSeconds"] == 0


def test_a_receipt_that_ran_out_is_delivered_again(scheduler: JobScheduler) -> None:
    scheduler.enqueue("some.task", key="k")
    queue = jobs.queue("pulls")
    first = jobs.take(queue, "one", lease_s=0)
    again = jobs.take(queue, "two", lease_s=60)
    assert [(job["_id"], job["deliveries"], job["owner"]) for job in (first, again)] == [
        ("k", 1, "one"),
        ("k", 2, "two"),
    ]
    assert jobs.take(queue, "three", lease_s=60) is None


def test_a_job_that_no_worker_survives_is_dead(scheduler: JobScheduler) -> None:
    scheduler.enqueue("some.task", key="k")
    jobs.queue("pulls").update_one({}, {"$set": {"deliveries": MAX_DELIVERIES}})
    assert get_broker().dequeue() is None
    assert scheduler.queue_sizes()["pulls"] == QueueSize(waiting=0, running=0, dead=1)


def test_jobs_of_a_stopped_cluster_are_given_back_ahead_of_later_ones(scheduler: JobScheduler) -> None:
    scheduler.enqueue("some.task", key="first")
    queue = jobs.queue("pulls")
    jobs.take(queue, "gone", lease_s=60)
    scheduler.enqueue("some.task", key="second")
    assert jobs.release(queue, "gone", refund=True) == 1
    assert jobs.release(queue, "gone", refund=True) == 0
    job = jobs.take(queue, "next", lease_s=60)
    assert (job["_id"], job["deliveries"]) == ("first", 1)


def test_jobs_of_a_killed_cluster_of_this_host_are_given_back(scheduler: JobScheduler) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    queue = jobs.queue("pulls")
    for key, owner in {
        "dead": jobs.owner_of(ended.pid),
        "alive": jobs.owner_of(os.getpid()),
        "elsewhere": f"other-host/1:{ended.pid}",
    }.items():
        scheduler.enqueue("some.task", key=key)
        jobs.take(queue, owner, lease_s=60)
    assert jobs.release_orphans(queue) == 1
    assert [job["_id"] for job in queue.find({"owner": {"$exists": False}})] == ["dead"]


def test_a_full_queue_refuses(scheduler: JobScheduler) -> None:
    queue = jobs.queue("pulls")
    queue.insert_many({"_id": str(n), "done": False, "visible_at": LONG_AGO} for n in range(jobs.CAPACITY))
    with pytest.raises(QueueFull, match="The queue pulls is full: 10000 jobs wait"):
        scheduler.enqueue("some.task")
    scheduler.enqueue("some.task", queue="backfills")
    assert scheduler.queue_sizes()["backfills"] == QueueSize(1, 0, 0)


def test_an_unknown_queue_is_refused(scheduler: JobScheduler) -> None:
    with pytest.raises(Rejected, match="There is no queue 'fast', only pulls, backfills"):
        scheduler.enqueue("some.task", queue="fast")


def test_the_next_job_is_found_by_index() -> None:
    plan = jobs.queue("pulls").find(jobs.WAITING).sort("visible_at", 1).limit(1).explain()
    stage = plan["queryPlanner"]["winningPlan"]
    stages = [stage["stage"]]
    while "inputStage" in stage:
        stage = stage["inputStage"]
        stages.append(stage["stage"])
    assert stages == ["LIMIT", "FETCH", "IXSCAN"]


def test_django_q_uses_this_broker_and_its_own_calls_work(scheduler: JobScheduler) -> None:
    broker = get_broker()
    assert (type(broker), broker.info()) == (JobBroker, "jobs_pulls in MongoDB")
    async_task("some.task", 1)
    assert (broker.queue_size(), broker.lock_size()) == (1, 0)
    [(key, payload)] = broker.dequeue()
    assert SignedPackage.loads(payload)["func"] == "some.task"
    assert (broker.queue_size(), broker.lock_size()) == (0, 1)
    broker.fail(key)
    assert scheduler.queue_sizes()["pulls"] == QueueSize(0, 0, 1)
    async_task("some.task", 2)
    assert (broker.purge_queue(), broker.queue_size()) == (1, 0)


def test_many_jobs_open_no_connection_of_their_own(scheduler: JobScheduler) -> None:
    status = connections["default"].database.command
    before = status("serverStatus")["connections"]["totalCreated"]
    for _ in range(50):
        scheduler.enqueue("some.task")
    assert status("serverStatus")["connections"]["totalCreated"] - before < 5  # monitors of other clients may come


def subclasses(cls: type[Exception]) -> set[type[Exception]]:
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


UNAVAILABLE = {
    "AutoReconnect", "ConnectionFailure", "CursorNotFound", "ExecutionTimeout", "NetworkTimeout", "NotPrimaryError",
    "ServerSelectionTimeoutError", "WTimeoutError", "WaitQueueTimeoutError", "_OperationCancelled",
}  # fmt: skip


def test_every_error_of_the_driver_has_a_kind() -> None:
    kinds = {"Unavailable": set(), "Rejected": set()}
    modules = (pymongo.errors.__name__, bson.errors.__name__)
    for cls in subclasses(pymongo.errors.PyMongoError) | subclasses(bson.errors.BSONError):
        if cls.__module__ in modules:
            error = Exception.__new__(cls, "why")
            error._error_labels = set()
            kinds[type(store.kind_of(error)).__name__].add(cls.__name__)
    assert kinds["Unavailable"] == UNAVAILABLE
    assert {"OperationFailure", "DuplicateKeyError", "ConfigurationError", "InvalidDocument"} <= kinds["Rejected"]


def test_an_error_behind_the_orm_keeps_its_kind() -> None:
    with pytest.raises(Unavailable, match=r"^MongoDB did not answer: 127.0.0.1:1: refused$"), store.translated():
        try:
            raise pymongo.errors.ServerSelectionTimeoutError("127.0.0.1:1: refused, Timeout: 5s, Topology: <…>")
        except pymongo.errors.PyMongoError as error:
            raise DatabaseError from error


def test_a_labelled_error_is_worth_another_try() -> None:
    error = pymongo.errors.OperationFailure("shutting down", details={"errorLabels": ["RetryableWriteError"]})
    assert isinstance(store.kind_of(pymongo.errors.OperationFailure("shutting down")), Rejected)
    assert isinstance(store.kind_of(error), Unavailable)


def test_importing_the_scheduler_needs_no_django_set_up() -> None:
    code = "from infrastructure.scheduling import JobScheduler; JobScheduler()"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
