"""Starts the real `manage.py qcluster` as processes, and stores that a test may kill."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pymongo

from infrastructure.embedded import binaries
from tests.scheduling.tasks import runs
from tests.servers import free_port

ROOT = Path(__file__).parents[2]
HANG_S = 60


T = TypeVar("T")


def wait_for(what: Callable[[], T], within: float = HANG_S) -> T:
    """What it gives as soon as that is true; the deadline only ends a hang."""
    deadline = time.monotonic() + within
    while not (found := what()):
        if time.monotonic() > deadline:
            raise TimeoutError("it never became true")
        time.sleep(0.05)
    return found


class Cluster:
    def __init__(self, log: Path, environment: dict[str, str], program: tuple[str, ...] = ("manage.py",)) -> None:
        self.log = log
        self.database = environment["MONGODB_NAME"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *program, "qcluster"],
                cwd=ROOT,
                env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.scheduling.settings", **environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def text(self) -> str:
        return self.log.read_text()

    def says(self, line: str) -> None:
        wait_for(lambda: line in self.text() or self.process.poll() is not None)
        assert line in self.text(), self.text()

    def tree(self) -> list[psutil.Process]:
        """Sentinel first."""
        return psutil.Process(self.pid).children(recursive=True)

    def worker_waiting(self) -> psutil.Process:
        return wait_for(lambda: [child for child in self.tree() if " ".join(child.cmdline()).endswith(" idle")])[0]

    def ends(self) -> int:
        return self.process.wait(HANG_S)

    def kill(self) -> None:
        """After a test: the tree dies with its main process; what does not is ended here."""
        children = self.tree() if self.process.poll() is None else []
        self.process.kill()
        self.process.wait(HANG_S)
        for child in psutil.wait_procs(children, 5)[1]:
            child.kill()


Start = Callable[..., Cluster]


class Server:
    """A store of the test's own, on a port and data that survive its death."""

    def __init__(self, command: list[str], port: int, log: Path) -> None:
        self.command, self.port, self.log = command, port, log
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(self.command, stdout=output, stderr=output, start_new_session=True)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(HANG_S)


def own_redis(folder: Path) -> Server:
    port = free_port()
    command = [str(binaries.redis_server()), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    return Server([*command, "--dir", str(folder)], port, folder / "redis.log")


def own_mongod(folder: Path) -> Server:
    port, data = free_port(), folder / "mongodb"
    data.mkdir()
    command = [str(binaries.mongod()), "--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1"]
    command += ["--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25", "--nounixsocket", "--quiet"]
    server = Server(command, port, folder / "mongod.log")
    members: list[dict[str, Any]] = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
    with pymongo.MongoClient(port=port, directConnection=True) as client:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
        wait_for(lambda: client.admin.command("hello")["isWritablePrimary"])
    return server


def ran(name: str, times: int = 1) -> list[dict[str, object]]:
    """The documents of that name, as soon as there are so many."""

    def enough() -> list[dict[str, object]] | None:
        found = list(runs().find({"name": name}))
        return found if len(found) >= times else None

    return wait_for(enough) or []
