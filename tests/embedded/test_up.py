"""`manage.py up` from an empty folder, with everything real: stores, simulator, jobs, feed and web server."""

import contextlib
import json
import os
import re
import signal
import socketserver
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pymongo
import pytest

from tests.embedded.platform import environment, up
from tests.embedded.processes import uses, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
START_S = 120
STOP_S = 15
LINE = re.compile(r"^\d\d:\d\d:\d\d (\w+) *\| (.*)$")
PROCESSES = ["mongodb", "redis", "simulator", "feed", "worker", "backfills", "web"]


class Run:
    """A running `up` and what it said so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def said(self, pattern: str) -> list[str]:
        return [line for line in self.lines if re.search(pattern, line)]

    def wait_for(self, pattern: str, times: int = 1) -> None:
        wait_until(lambda: len(self.said(pattern)) >= times or self.process.poll() is not None, f"{pattern!r}", START_S)
        assert len(self.said(pattern)) >= times, "\n".join(self.lines)

    def processes(self) -> dict[str, int]:
        """Name → pid, as the summary shows them."""
        rows = [match[2].split() for line in self.lines if (match := LINE.match(line)) and match[1] == "up"]
        return {row[0]: int(row[-1]) for row in rows if row[0] in PROCESSES}

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(STOP_S)
        self._reader.join(STOP_S)
        return code


@contextlib.contextmanager
def running(variables: dict[str, str]) -> Iterator[Run]:
    process = up(variables)
    run = Run(process)
    try:
        run.wait_for("^ready ")
        yield run
    finally:
        process.kill()
        process.communicate()
        wait_until(lambda: uses(Path(variables["VAR_DIR"])) == [], "everything has ended", START_S)


def status(variables: dict[str, str], path: str) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{variables['PORT']}{path}", timeout=START_S) as answer:
        return int(answer.status)


def store(folder: Path) -> "pymongo.MongoClient[dict[str, object]]":
    port = json.loads((folder / "ports.json").read_text())["mongodb"]
    return pymongo.MongoClient(f"mongodb://127.0.0.1:{port}/?replicaSet=rs0", serverSelectionTimeoutMS=START_S * 1000)


def test_it_comes_up_stops_in_order_and_finds_its_data_again(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    with running(variables) as run:
        assert run.said("^ready ") == [f"ready http://127.0.0.1:{variables['PORT']}/"]
        assert status(variables, "/") == 200
        assert list(run.processes()) == PROCESSES
        assert all(psutil.pid_exists(pid) for pid in run.processes().values())
        assert [line for line in run.lines if not LINE.match(line) and not line.startswith("ready ")] == []
        with store(tmp_path) as client:
            before = {name: client.marketdata[name].estimated_document_count() for name in ("auth_user", "symbol")}
            client.test.kept.insert_one({"_id": 1})
        assert before["auth_user"] == 1
        assert before["symbol"] > 8
        assert run.stop() == 0
        assert uses(tmp_path) == []
        assert not run.said("killed"), "\n".join(run.lines)
    with running(variables) as run:
        with store(tmp_path) as client:
            assert client.test.kept.find_one() == {"_id": 1}
            assert {name: client.marketdata[name].estimated_document_count() for name in before} == before
        assert run.stop(signal.SIGINT) == 0
        assert uses(tmp_path) == []


def test_kill_9_of_up_leaves_no_process_and_the_next_start_works_at_once(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    with running(variables) as run:
        run.process.kill()
        run.process.wait()
        with running(variables) as again:  # waits by itself until what was left is gone
            assert status(variables, "/") == 200
            assert again.stop() == 0


def test_whatever_is_killed_comes_back(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    with running(variables) as run:
        for name, pid in run.processes().items():
            os.kill(pid, signal.SIGKILL)
            run.wait_for(rf"{name} *\| was ended by SIGKILL; starting it again in \d\.\d s$")
        wait_until(lambda: answers(variables), "the web server answers again", START_S)
        assert run.stop() == 0
        assert run.said("^ready ") == [f"ready http://127.0.0.1:{variables['PORT']}/"]  # said once


def answers(variables: dict[str, str]) -> bool:
    try:
        return status(variables, "/") == 200
    except OSError:
        return False


@contextlib.contextmanager
def another_server(port: int) -> Iterator[None]:
    """Somebody else's, that understands nothing and hangs up."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def test_a_store_port_that_was_taken_meanwhile_is_replaced_and_the_data_is_there(tmp_path: Path) -> None:
    variables = environment(tmp_path)
    with running(variables) as run:
        with store(tmp_path) as client:
            client.test.kept.insert_one({"_id": 1})
        assert run.stop() == 0
    taken = json.loads((tmp_path / "ports.json").read_text())["mongodb"]
    with another_server(taken), running(variables) as run:
        assert run.said(rf"port {taken} is in use: mongodb moves to \d+")
        assert status(variables, "/") == 200
        with store(tmp_path) as client:
            assert client.test.kept.find_one() == {"_id": 1}
        assert run.stop() == 0
