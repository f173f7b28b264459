"""`manage.py qcluster` under signals, kills and lost stores."""

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pymongo
import pytest
from django_q.models import Schedule

from infrastructure.scheduling import JobScheduler, jobs
from infrastructure.scheduling.broker import MAX_DELIVERIES
from infrastructure.scheduling.jobs import QueueSize
from tests.scheduling.processes import HANG_S, ROOT, Server, Start, ran, wait_for
from tests.scheduling.tasks import runs

TASKS = "tests.scheduling.tasks"
pytestmark = pytest.mark.slow


def test_a_job_whose_worker_is_killed_runs_again(start: Start, scheduler: JobScheduler) -> None:
    start()
    scheduler.enqueue(f"{TASKS}.work", "long", 2, key="long")
    [first] = ran("long")
    os.kill(int(str(first["pid"])), signal.SIGKILL)
    ran("long done")
    assert len({run["pid"] for run in ran("long", times=2)}) == 2
    wait_for(lambda: jobs.queue("pulls").find_one({"_id": "long", "done": True, "deliveries": 2}))


def test_a_task_over_its_time_fails_and_its_worker_is_replaced(start: Start, scheduler: JobScheduler) -> None:
    cluster = start()
    scheduler.enqueue(f"{TASKS}.work", "endless", 600)
    cluster.says("work failed after 3")
    assert "Task exceeded maximum timeout value (3 seconds)" in cluster.text()
    for n in range(4):
        scheduler.enqueue(f"{TASKS}.work", f"next {n}")
    for n in range(4):
        ran(f"next {n} done")
    assert runs().count_documents({"name": "endless"}) == 1


def test_a_job_that_kills_every_worker_or_that_nobody_can_read_is_given_up(
    start: Start, scheduler: JobScheduler
) -> None:
    cluster = start()
    jobs.insert(jobs.queue("pulls"), "unreadable", "not signed by us")
    scheduler.enqueue(f"{TASKS}.die", key="die")
    jobs.queue("pulls").update_one({"_id": "die"}, {"$set": {"deliveries": MAX_DELIVERIES - 1}})
    cluster.says("job die is dead: no worker survived it in 5 tries")
    assert runs().count_documents({"name": "die"}) == 1
    wait_for(lambda: scheduler.queue_sizes()["pulls"] == QueueSize(waiting=0, running=0, dead=2))


@pytest.mark.parametrize(
    ("signal_number", "whole_group"),
    [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, True)],
)
def test_a_signal_ends_an_idle_cluster_whole(start: Start, signal_number: int, whole_group: bool) -> None:
    cluster = start()
    cluster.worker_waiting()
    tree = cluster.tree()
    (os.killpg if whole_group else os.kill)(cluster.pid, signal_number)
    assert cluster.ends() == 0
    assert [child for child in tree if child.is_running()] == []
    assert "Traceback" not in cluster.text()


def test_a_stopped_cluster_gives_its_unfinished_jobs_back(start: Start, scheduler: JobScheduler) -> None:
    """The backfills queue has one worker and tasks of 60 s: three jobs are in hand, one of them runs."""
    cluster = start("backfills", environment={"TASK_TIMEOUT": "60"})
    for n in range(4):
        scheduler.enqueue(f"{TASKS}.work", f"long {n}", 50, key=f"long {n}", queue="backfills")
    wait_for(lambda: scheduler.queue_sizes()["backfills"] == QueueSize(1, 3, 0))
    ran("long 0")
    cluster.process.terminate()
    assert cluster.ends() == 0
    assert "3 unfinished job(s) given back" in cluster.text()
    assert scheduler.queue_sizes()["backfills"] == QueueSize(4, 0, 0)
    assert {(job["_id"], job["deliveries"]) for job in jobs.queue("backfills").find()} == {
        (f"long {n}", 0) for n in range(4)
    }


def test_a_killed_main_process_leaves_no_child_and_its_successor_takes_over(
    start: Start, scheduler: JobScheduler
) -> None:
    cluster = start("backfills", environment={"TASK_TIMEOUT": "60"})
    scheduler.enqueue(f"{TASKS}.work", "long", 50, queue="backfills")
    ran("long")
    tree = cluster.tree()
    assert len(tree) == 4
    cluster.process.kill()
    assert psutil.wait_procs(tree, HANG_S)[1] == []
    successor = start("backfills")
    successor.says("1 job(s) of killed clusters given back")
    ran("long", times=2)


def test_a_killed_sentinel_ends_the_cluster_with_an_error(start: Start, scheduler: JobScheduler) -> None:
    cluster = start("backfills", environment={"TASK_TIMEOUT": "60"})
    scheduler.enqueue(f"{TASKS}.work", "long", 50, queue="backfills")
    ran("long")
    tree = cluster.tree()
    tree[0].kill()
    assert cluster.ends() == 1
    assert psutil.wait_procs(tree, HANG_S)[1] == []
    assert "1 unfinished job(s) given back" in cluster.text()
    assert scheduler.queue_sizes()["backfills"] == QueueSize(1, 0, 0)


def test_workers_that_take_no_more_jobs_end_the_cluster(start: Start, scheduler: JobScheduler) -> None:
    """A worker killed while it waits leaves Django-Q's task queue locked for ever."""
    cluster = start("backfills")
    cluster.worker_waiting().kill()
    for n in range(3):
        scheduler.enqueue(f"{TASKS}.work", f"stuck {n}", queue="backfills")
    assert cluster.ends() == 1
    assert "the workers take no jobs any more, starting anew" in cluster.text()
    start("backfills")
    for n in range(3):
        ran(f"stuck {n} done")


def test_no_client_is_open_at_any_fork(start: Start, scheduler: JobScheduler, tmp_path: Path) -> None:
    trace = tmp_path / "forks"
    start(environment={"FORK_TRACE": str(trace)}, program=("-m", "tests.scheduling.traced_manage"))
    scheduler.enqueue(f"{TASKS}.work", "killed", 2)
    [run] = ran("killed")
    os.kill(int(str(run["pid"])), signal.SIGKILL)  # the sentinel forks another worker
    scheduler.enqueue(f"{TASKS}.fork_with_open_clients")
    [forked] = ran("forked")
    assert (forked["status"], forked["cached"]) == (0, 1)
    ran("killed done")
    forks = [json.loads(line) for line in trace.read_text().splitlines()]
    # main: sentinel; sentinel: 2 workers, monitor, pusher, another worker; that task: its child
    assert sorted(Counter(fork["pid"] for fork in forks).values()) == [1, 1, 5]
    assert [fork for fork in forks if fork["ports"] or fork["threads"]] == []


def test_a_cluster_outlives_both_stores(start: Start, own_stores: tuple[Server, Server]) -> None:
    mongod, redis = own_stores
    environment = {
        "MONGODB_URI": f"mongodb://127.0.0.1:{mongod.port}/?replicaSet=rs0",
        "MONGODB_TIMEOUT_S": "1",
        "REDIS_URL": f"redis://127.0.0.1:{redis.port}",
    }
    cluster = start(environment=environment)
    tree = {child.pid for child in cluster.tree()}
    redis.kill()
    cluster.says("Redis did not answer")
    enqueue = f"JobScheduler().enqueue('{TASKS}.work', 'during', 1, key='during')"
    subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", f"from infrastructure.scheduling import JobScheduler; {enqueue}"],
        cwd=ROOT,
        env={**os.environ, **environment, "MONGODB_NAME": cluster.database},
        check=True,
    )
    with pymongo.MongoClient(port=mongod.port) as client:
        found = client[cluster.database]["task_runs"]
        wait_for(lambda: found.find_one({"name": "during"}))
        mongod.kill()
        cluster.says("MongoDB did not answer")
        cluster.says("job during could not be closed and will run once more")
        for server in own_stores:
            server.start()
        cluster.says("MongoDB answers again")
        cluster.says("Redis answers again")
        wait_for(lambda: found.find_one({"name": "during done"}))
    assert {child.pid for child in cluster.tree()} == tree
    assert "Traceback" not in cluster.text()


def test_a_cluster_stops_in_time_without_stores(start: Start, own_stores: tuple[Server, Server]) -> None:
    mongod, redis = own_stores
    cluster = start(
        environment={
            "MONGODB_URI": f"mongodb://127.0.0.1:{mongod.port}/?replicaSet=rs0",
            "REDIS_URL": f"redis://127.0.0.1:{redis.port}",
        }
    )
    for server in own_stores:
        server.kill()
    cluster.says("MongoDB did not answer")
    cluster.process.terminate()
    assert cluster.process.wait(12) == 0


def test_no_slot_is_lost_or_queued_twice_while_clusters_are_killed(start: Start, scheduler: JobScheduler) -> None:
    for name in ("a", "b", "c"):
        scheduler.schedule(name, f"{TASKS}.slot", cron="* * * * * *", kwargs={"name": name}, slot_kwarg="slot")
    clusters = [start(), start()]
    chance = random.Random(7)
    for n in range(8):
        ran("a", times=n + 1)
        victim = clusters.pop(chance.randrange(2))
        chance.choice([victim.process, *victim.tree()]).kill()  # main, sentinel, pusher, monitor or a worker
        victim.kill()
        clusters.append(start())
    names = {str(row.pk): row.name for row in Schedule.objects.all()}
    for name in names.values():
        scheduler.unschedule(name)

    def queued() -> set[tuple[str, str]]:
        ids = (job["_id"].partition(":") for job in jobs.queue("pulls").find())
        return {(names[key], slot) for key, _, slot in ids}

    def done() -> set[tuple[str, str]]:
        return {(str(run["name"]), str(run["slot"])) for run in runs().find()}

    # A cluster that read the schedules just before may queue a last slot after them.
    wait_for(lambda: scheduler.queue_sizes()["pulls"] == QueueSize(0, 0, 0) and queued() <= done())
    assert done() <= queued()
