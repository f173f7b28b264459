"""`manage.py qcluster` as real processes against the real stores: jobs, schedules, queues."""

import os
import re
import subprocess
import sys

import pytest
from django.core.management import get_commands
from django_q.models import Schedule, Task

from infrastructure.scheduling import JobScheduler, jobs
from infrastructure.scheduling.jobs import QueueSize
from tests.scheduling.processes import ROOT, Start, ran, wait_for
from tests.scheduling.tasks import runs

TASKS = "tests.scheduling.tasks"


def test_the_command_is_ours() -> None:
    assert get_commands()["qcluster"] == "infrastructure"


def test_an_unknown_queue_ends_with_one_sentence() -> None:
    environment = {**os.environ, "Q_CLUSTER_NAME": "fast"}
    ended = subprocess.run(
        [sys.executable, "manage.py", "qcluster"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        "CommandError: Q_CLUSTER_NAME: There is no queue 'fast', only pulls, backfills.\n",
    )


def test_a_cluster_runs_jobs_and_schedules_says_so_and_stops_cleanly(start: Start, scheduler: JobScheduler) -> None:
    cluster = start()
    scheduler.enqueue(f"{TASKS}.work", "one", key="one")
    scheduler.enqueue(f"{TASKS}.fail", "broken text")
    scheduler.schedule("every", f"{TASKS}.slot", minutes=5, slot_kwarg="slot")
    ran("one done")
    [fired] = ran("slot")
    wait_for(lambda: scheduler.queue_sizes()["pulls"] == QueueSize(0, 0, 0))
    [info] = scheduler.schedules()
    assert (info.name, info.last_success, info.last_error) == ("every", True, None)
    row = Schedule.objects.get()
    assert jobs.queue("pulls").count_documents({"_id": f"{row.pk}:{fired['slot']}", "done": True}) == 1
    assert Task.objects.get(id=row.task).success
    cluster.process.terminate()
    assert cluster.ends() == 0
    lines = re.sub(r"\d+\.\d+ s", "… s", cluster.text()).splitlines()
    assert sorted(line for line in lines if line.startswith(("INFO", "ERROR"))) == sorted(
        [
            "INFO infrastructure.scheduling.cluster: queue pulls: 2 workers, schedules looked at every second",
            f"INFO infrastructure.scheduling.journal: {TASKS}.work done in … s",
            f"ERROR infrastructure.scheduling.journal: {TASKS}.fail failed after … s: ValueError: broken text",
            f"INFO infrastructure.scheduling.journal: every ({TASKS}.slot) done in … s",
            "INFO infrastructure.scheduling.cluster: queue pulls ended, 0 unfinished job(s) given back",
        ]
    )
    assert cluster.text().count("Traceback") == 1


@pytest.mark.slow
def test_every_slot_runs_once_with_two_clusters(start: Start, scheduler: JobScheduler) -> None:
    scheduler.schedule("often", f"{TASKS}.slot", cron="* * * * * *", slot_kwarg="slot")
    start()
    start()
    ran("slot", times=6)
    scheduler.unschedule("often")
    wait_for(lambda: scheduler.queue_sizes()["pulls"] == QueueSize(0, 0, 0))
    ran_slots = sorted(str(run["slot"]) for run in runs().find())
    queued_slots = sorted(job["_id"].partition(":")[2] for job in jobs.queue("pulls").find())
    assert ran_slots == queued_slots
    assert len({run["pid"] for run in runs().find()}) > 1


@pytest.mark.slow
def test_queues_do_not_wait_for_each_other(start: Start, scheduler: JobScheduler) -> None:
    start("backfills")
    start()
    for n in range(3):
        scheduler.enqueue(f"{TASKS}.work", f"long {n}", 2, queue="backfills")
    ran("long 0")
    scheduler.enqueue(f"{TASKS}.work", "short")
    ran("short done")
    assert runs().count_documents({"name": "long 2"}) == 0
    ran("long 2 done")
    assert {run["name"]: run["queue"] for run in runs().find({"name": re.compile("done")})} == {
        "short done": "pulls",
        "long 0 done": "backfills",
        "long 1 done": "backfills",
        "long 2 done": "backfills",
    }
