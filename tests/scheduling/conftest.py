import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from infrastructure.scheduling import JobScheduler
from tests.scheduling.processes import Cluster, Server, Start, own_mongod, own_redis


@pytest.fixture
def scheduler(db: None) -> Iterator[JobScheduler]:
    """Over empty queues, with indexes; Django's own flush does not know these collections."""
    scheduler = JobScheduler()
    scheduler.ensure()
    empty_queues()
    yield scheduler
    empty_queues()


def empty_queues() -> None:
    """Before, for what tests of other packages left; after, for those that come next."""
    for name in ("jobs_pulls", "jobs_backfills", "task_runs"):
        connections["default"].database[name].delete_many({})


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the project's own loggers say; they do not propagate to the one that pytest listens to."""
    logger = logging.getLogger("infrastructure")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


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


@pytest.fixture
def own_stores(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    mongod, redis = own_mongod(tmp_path), own_redis(tmp_path)
    yield mongod, redis
    for server in (mongod, redis):
        server.kill()
