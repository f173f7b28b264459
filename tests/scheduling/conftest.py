import logging
from collections.abc import Iterator

import pytest
from django.db import connections

from infrastructure.scheduling import JobScheduler


@pytest.fixture
def scheduler(db: None) -> Iterator[JobScheduler]:
    """Over empty queues, with indexes; Django's own flush does not know these collections."""
    scheduler = JobScheduler()
    scheduler.ensure()
    yield scheduler
    for name in ("jobs_pulls", "jobs_backfills", "task_runs"):
        connections["default"].database[name].delete_many({})


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the project's own loggers say; they do not propagate to the one that pytest listens to."""
    logger = logging.getLogger("infrastructure")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
