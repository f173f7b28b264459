"""`manage.py up` where somebody takes a port between its look at it and the start of the server."""

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.platform_process import Platform, started_platform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HANG_S = 60.0


class Hangup(socketserver.ThreadingTCPServer):
    """Takes connections and hangs up: enough to look as if something answered."""

    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def rival(port: int) -> Iterator[None]:
    with Hangup(("127.0.0.1", port), socketserver.BaseRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


def settled_port(platform: Platform, name: str) -> int:
    """As soon as `up` has chosen it: well before a process that listens there can have started."""
    file, end = platform.var / "ports.json", time.monotonic() + HANG_S
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.001)
    return int(json.loads(file.read_text())[name])


@pytest.mark.parametrize("name", ["simulator", "mongodb"])
def test_a_port_taken_after_the_look_at_it_is_replaced(tmp_path: Path, name: str) -> None:
    with started_platform(tmp_path / "var") as platform:
        taken = settled_port(platform, name)
        with rival(taken):
            platform.wait_for(rf"port {taken} is in use: {name} moves to \d+$")
            platform.wait_for("^ready ")
            assert platform.store_ports[name] != taken
            platform.wait_for("feed is live")
        assert platform.stop() == 0
