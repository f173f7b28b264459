"""Pytest plugin (`-p tests.servers`): a real MongoDB and a real Redis for the run, on free loopback ports.

Loaded before Django's settings are read, because those take the addresses from the environment. `MONGODB_URI` and
`REDIS_URL`, if set, are used instead.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infrastructure.embedded import binaries
from infrastructure.embedded.runner import tethered

_started: list[subprocess.Popen[bytes]] = []
_folder = Path(tempfile.mkdtemp(prefix="marketdata-tests-"))


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> None:
    """Each process of a parallel run (pytest-xdist) has stores of its own; what it inherited is its parent's."""
    for name, port_name in (("MONGODB_URI", "TESTS_MONGODB_PORT"), ("REDIS_URL", "TESTS_REDIS_PORT")):
        if os.environ.pop(port_name, ""):
            os.environ.pop(name, None)
    os.environ.setdefault("SECRET_KEY", "tests-only-" + "k" * 50)
    os.environ["VAR_DIR"] = str(_folder / "var")
    if "MONGODB_URI" not in os.environ:
        port = free_port()
        os.environ["MONGODB_URI"] = f"mongodb://127.0.0.1:{port}/?replicaSet=rs0"
        os.environ["TESTS_MONGODB_PORT"] = str(port)
    if "REDIS_URL" not in os.environ:
        port = free_port()
        os.environ["REDIS_URL"] = f"redis://127.0.0.1:{port}"
        os.environ["TESTS_REDIS_PORT"] = str(port)


_environment()


def _start(*command: str) -> None:
    log = (_folder / f"{Path(command[0]).name}.log").open("wb")
    words = tethered(signal.SIGTERM, *command)  # a run that is killed leaves no server behind
    _started.append(subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True))


def _start_mongod(port: str) -> None:
    import pymongo
    from pymongo.errors import PyMongoError

    data = _folder / "mongodb"
    data.mkdir()
    _start(
        str(binaries.mongod()), "--dbpath", str(data), "--port", port, "--bind_ip", "127.0.0.1",
        "--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.5", "--nounixsocket", "--quiet",
    )  # fmt: skip
    with pymongo.MongoClient(port=int(port), directConnection=True, serverSelectionTimeoutMS=30_000) as client:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{port}"}]})
        deadline = time.monotonic() + 30
        while not client.admin.command("hello")["isWritablePrimary"]:
            if time.monotonic() > deadline:
                raise PyMongoError("the test mongod did not become primary")
            time.sleep(0.05)


def _start_redis(port: str) -> None:
    _start(
        str(binaries.redis_server()),
        "--port",
        port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(_folder),
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the test redis-server did not answer")


def pytest_sessionstart(session: pytest.Session) -> None:
    if getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput"):
        return  # only hands out tests
    if port := os.environ.get("TESTS_REDIS_PORT"):
        _start_redis(port)
    if port := os.environ.get("TESTS_MONGODB_PORT"):
        _start_mongod(port)


def pytest_unconfigure() -> None:
    for process in reversed(_started):
        process.terminate()
    for process in _started:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _started.clear()
    shutil.rmtree(_folder, ignore_errors=True)


@pytest.fixture(scope="session")
def captures() -> Iterator[Path]:
    """The folder of recorded payloads; a test that asks for it is skipped, with the reason, where there is none."""
    folder = os.environ.get("TRADINGVIEW_CAPTURES", "")
    if not folder:
        pytest.skip("TRADINGVIEW_CAPTURES names no folder of recorded payloads")
    yield Path(folder)
