"""`manage.py qcluster` as real processes against the real stores."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.db import connections
from django_q.models import Schedule, Task

from infrastructure.scheduling import JobScheduler, jobs
from infrastructure.scheduling.jobs import QueueSize
from tests.scheduling.processes import ROOT, Cluster, wait_for
from tests.scheduling.tasks import runs

TASKS = "tests.scheduling.tasks"
Start = Callable[..., Cluster]


@pytest.fixture
def start(scheduler: JobScheduler, tmp_path: Path) -> Iterator[Start]:
    """Starts a cluster on this test's database and waits until it works."""
    clusters: list[Cluster] = []

    def started(queue: str = "pulls", **options: object) -> Cluster:
        environment = {
            "MONGODB_NAME": connections["default"].settings_dict["NAME"],
            "Q_CLUSTER_NAME": queue,
            # The driver only warns when one of its clients crosses a fork; here that is an error.
            "PYTHONWARNINGS": "error:MongoClient opened before fork",
            **options.pop("environment", {}),
        }
        clusters.append(Cluster(tmp_path / f"cluster{len(clusters)}.log", environment, **options))
        clusters[-1].says(f"queue {queue}: ")
        return clusters[-1]

    yield started
    for cluster in clusters:
        cluster.kill()


def ran(name: str, times: int = 1) -> list[dict[str, object]]:
    """The documents of that name, as soon as there are so many."""

    def enough() -> list[dict[str, object]] | None:
        found = list(runs().find({"name": name}))
        return found if len(found) >= times else None

    return wait_for(enough) or []


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
