"""`manage.py up` from an empty folder, with everything real: stores, simulator, jobs, feed and web server."""

import contextlib
import os
import re
import signal
import socketserver
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pymongo
import pytest

from tests.embedded.processes import uses, wait_until
from tests.platform_process import START_S, Platform, running_platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STOP_S = 60  # only guards against a hang: what the services are given adds up to 13 s
LINE = re.compile(r"^\d\d:\d\d:\d\d (\w+) *\| (.*)$")
PROCESSES = ["mongodb", "redis", "simulator", "feed", "worker", "backfills", "web"]


def stop(platform: Platform, number: int = signal.SIGTERM) -> int:
    """Its exit code; no process is left."""
    platform.process.send_signal(number)
    code = platform.process.wait(STOP_S)
    assert uses(platform.var) == []
    return code


def page_answers(platform: Platform) -> bool:
    try:
        with urllib.request.urlopen(platform.url + "/", timeout=START_S) as answer:  # noqa: S310  http
            return int(answer.status) == 200
    except OSError:
        return False


def store(platform: Platform) -> "pymongo.MongoClient[dict[str, object]]":
    uri = f"mongodb://127.0.0.1:{platform.store_ports['mongodb']}/?replicaSet=rs0"
    return pymongo.MongoClient(uri, serverSelectionTimeoutMS=START_S * 1000)


def test_it_comes_up_stops_in_order_and_finds_its_data_again(tmp_path: Path) -> None:
    with running_platform(tmp_path) as platform:
        assert page_answers(platform)
        assert list(platform.processes) == PROCESSES
        assert all(psutil.pid_exists(pid) for pid in platform.processes.values())
        assert [line for line in platform.lines if not LINE.match(line)] == [f"ready {platform.url}/"]
        with store(platform) as client:
            before = {name: client.marketdata[name].estimated_document_count() for name in ("auth_user", "symbol")}
            client.test.kept.insert_one({"_id": 1})
        assert before["auth_user"] == 1
        assert before["symbol"] > 8
        assert stop(platform) == 0
        assert platform.said("; killed") == ""
    with running_platform(tmp_path) as platform:
        with store(platform) as client:
            assert client.test.kept.find_one() == {"_id": 1}
            assert {name: client.marketdata[name].estimated_document_count() for name in before} == before
        assert platform.said("password") == ""  # the account is made once
        assert stop(platform, signal.SIGINT) == 0


def test_kill_9_of_up_leaves_no_process_and_the_next_start_works_at_once(tmp_path: Path) -> None:
    with running_platform(tmp_path) as platform:
        platform.process.kill()
        platform.process.wait()
    with running_platform(tmp_path) as platform:  # waits by itself until what was left is gone
        assert page_answers(platform)
        platform.process.kill()
        platform.process.wait()
    wait_until(lambda: uses(tmp_path) == [], "everything has ended")


def test_whatever_is_killed_comes_back(tmp_path: Path) -> None:
    with running_platform(tmp_path) as platform:
        for name, pid in platform.processes.items():
            os.kill(pid, signal.SIGKILL)
            platform.wait_for(rf"{name} *\| was ended by SIGKILL; starting it again in \d\.\d s$")
        wait_until(lambda: page_answers(platform), "the web server answers again")
        assert stop(platform) == 0
        assert [line for line in platform.lines if line.startswith("ready")] == [f"ready {platform.url}/"]  # said once


@contextlib.contextmanager
def another_server(port: int) -> Iterator[None]:
    """Somebody else's, that understands nothing and hangs up."""
    with socketserver.ThreadingTCPServer(
        ("127.0.0.1", port), socketserver.BaseRequestHandler, bind_and_activate=False
    ) as server:
        server.allow_reuse_address = True
        server.server_bind()
        server.server_activate()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def test_a_store_port_that_was_taken_meanwhile_is_replaced_and_the_data_is_there(tmp_path: Path) -> None:
    with running_platform(tmp_path) as platform:
        with store(platform) as client:
            client.test.kept.insert_one({"_id": 1})
        taken = platform.store_ports["mongodb"]
        assert stop(platform) == 0
    with another_server(taken), running_platform(tmp_path) as platform:
        assert platform.said(f"port {taken} is in use: mongodb moves to {platform.store_ports['mongodb']}")
        assert page_answers(platform)
        with store(platform) as client:
            assert client.test.kept.find_one() == {"_id": 1}
        assert stop(platform) == 0
