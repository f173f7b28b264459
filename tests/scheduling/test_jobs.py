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
from django_q.models import Task
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


def given_up(scheduler: JobScheduler, func: str = "some.task", *args: object, key: str = "k") -> None:
    scheduler.enqueue(func, *args, key=key)
    jobs.queue("pulls").update_one({"_id": key}, {"$set": {"deliveries": MAX_DELIVERIES}})
    assert get_broker().dequeue() is None


def test_a_job_that_was_given_up_says_what_it_was_and_what_its_last_try_said(scheduler: JobScheduler) -> None:
    given_up(scheduler, "some.task", 1, "two")
    [silent] = scheduler.dead_jobs()
    Task.objects.create(
        id=jobs.task_id_of("k"), name="k", func="some.task", started=silent.died_at, stopped=silent.died_at,
        success=False, result="Too long. : Traceback (most recent call last): …",
    )  # fmt: skip
    [found] = scheduler.dead_jobs()
    assert (silent.error, found.error) == ("", "Too long.")
    assert (found.queue, found.key, found.name, found.call, found.deliveries) == (
        "pulls", "k", "some.task", "some.task(1, 'two')", MAX_DELIVERIES + 1,
    )  # fmt: skip
    assert timedelta(0) <= found.died_at - found.enqueued_at < timedelta(minutes=1)
    assert store.server_now() - found.died_at < timedelta(minutes=1)


def test_a_job_that_was_given_up_because_nobody_can_read_it_is_listed_too(scheduler: JobScheduler) -> None:
    jobs.insert(jobs.queue("backfills"), "odd", "not signed by us")
    get_broker("backfills").fail("odd")
    [found] = scheduler.dead_jobs()
    assert (found.queue, found.name, found.call) == ("backfills", "odd", "")
    assert "cannot be read" in found.error


def test_a_job_that_was_given_up_is_tried_again_with_all_its_tries(scheduler: JobScheduler) -> None:
    given_up(scheduler)
    assert scheduler.try_again("pulls", "k") is True
    assert scheduler.try_again("pulls", "k") is False
    assert (scheduler.dead_jobs(), scheduler.queue_sizes()["pulls"]) == ([], QueueSize(1, 0, 0))
    job = jobs.take(jobs.queue("pulls"), "one", lease_s=60)
    assert (job["_id"], job["deliveries"], "expires_at" in job) == ("k", 1, False)
    get_broker().acknowledge("k")
    assert scheduler.queue_sizes()["pulls"] == QueueSize(0, 0, 0)


def test_a_dropped_job_is_seen_no_more_and_its_key_refuses_a_second_one(scheduler: JobScheduler) -> None:
    given_up(scheduler)
    assert scheduler.drop_dead("pulls", "k") is True
    assert (scheduler.drop_dead("pulls", "k"), scheduler.try_again("pulls", "k")) == (False, False)
    scheduler.enqueue("some.task", key="k")
    assert (scheduler.dead_jobs(), scheduler.queue_sizes()["pulls"]) == ([], QueueSize(0, 0, 0))


def test_only_dead_jobs_of_queues_that_exist_are_dropped(scheduler: JobScheduler) -> None:
    scheduler.enqueue("some.task", key="k")
    assert (scheduler.drop_dead("pulls", "k"), scheduler.try_again("pulls", "k")) == (False, False)
    assert scheduler.queue_sizes()["pulls"] == QueueSize(1, 0, 0)
    with pytest.raises(Rejected, match="There is no queue"):
        scheduler.drop_dead("others", "k")


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
