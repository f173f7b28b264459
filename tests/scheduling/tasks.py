"""What the clusters of these tests run; each run leaves a document, so that a test can wait for it."""

import os
import signal
import threading
import time
from typing import Any

from django.core.cache import cache
from django.db import connections


def runs() -> Any:
    return connections["default"].database["task_runs"]


def note(name: str, **facts: Any) -> None:
    runs().insert_one({"name": name, "pid": os.getpid(), "queue": os.environ.get("Q_CLUSTER_NAME", "pulls"), **facts})


def work(name: str, seconds: float = 0) -> None:
    note(name)
    time.sleep(seconds)
    note(f"{name} done")


def slot(slot: str, name: str = "slot") -> None:
    note(name, slot=slot)


def fail(text: str) -> None:
    raise ValueError(text)


def die() -> None:
    note("die")
    os.kill(os.getpid(), signal.SIGKILL)


def fork_with_open_clients() -> None:
    """A task that has used MongoDB and Redis forks, and both still work on either side."""
    runs().find_one()
    cache.set("fork", 1)
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        note("forked", status=status, cached=cache.get("fork"), threads=threading.active_count() > 1)
    else:
        found = runs().count_documents({}) >= 0 and cache.get("fork") == 1
        os._exit(0 if found else 1)
