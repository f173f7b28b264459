"""Independent clients live in a venv of their own: they pin other versions of what the platform uses."""

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infrastructure.simulator import RunningClock, SimulatorServer
from tests.simulator.conftest import FRIDAY_MS

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements-peers.txt"
VENV = ROOT / ".venv-peers"
PYTHON = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
DRIVERS = Path(__file__).parent / "drivers"
DEADLINE_S = 100


@pytest.fixture(scope="session")
def peers_python() -> Path:
    """The interpreter of `.venv-peers`, made when missing or of other requirements."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = VENV / "requirements.sha256"
    if not stamp.exists() or stamp.read_text() != digest:
        venv.create(VENV, with_pip=True, clear=True)
        command = [str(PYTHON), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(REQUIREMENTS)]
        installed = subprocess.run(command, capture_output=True, text=True)
        if installed.returncode:
            reason = f"the peers cannot be installed: {installed.stderr[-500:]}"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
        stamp.write_text(digest)
    return PYTHON


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatorServer]:
    """On a Friday with most markets open; to every Origin, as some clients send one made from the address."""
    with SimulatorServer(seed=1, clock=RunningClock(start_ms=FRIDAY_MS), check_origin=False) as server:
        yield server


@pytest.fixture
def drive(peers_python: Path, exchange: SimulatorServer, tmp_path: Path) -> Callable[..., Any]:
    """Run a driver against the simulator; what it prints last is its JSON."""

    def run(driver: str, *arguments: str) -> Any:
        # A time zone that is nobody's shows a client's, or our, naive times.
        environment = {"PATH": os.environ.get("PATH", ""), "TZ": "Asia/Kathmandu", "HOME": str(tmp_path)}
        command = [str(peers_python), str(DRIVERS / driver), exchange.websocket_url, exchange.http_url, *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=DEADLINE_S, cwd=tmp_path, env=environment
        )
        assert result.returncode == 0, result.stderr[-2000:]
        return json.loads(result.stdout.splitlines()[-1])

    assert sys.version_info >= (3, 11)  # what tvkit needs
    return run
