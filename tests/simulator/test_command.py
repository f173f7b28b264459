import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.sync.client import connect

from infrastructure.errors import Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.simulator import Market, SimulatorServer
from infrastructure.simulator.clock import RunningClock
from tests.simulator.talk import ORIGIN, Talk, bars_of, chart

ROOT = Path(__file__).parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "simulator", *arguments], cwd=ROOT, text=True, env=dict(os.environ),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_the_command_serves_until_it_is_asked_to_stop() -> None:
    process = start("--port", "0", "--seed", "5", "--speed", "60")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        with connect(url, origin=ORIGIN, proxy=None, max_size=None) as socket:  # type: ignore[arg-type]
            client = Talk(socket, echo=True)
            chart(client, "BINANCE:BTCUSDT", "1", 100)
            messages = client.until("series_completed")
            bars = bars_of(messages[-2])
            expected = Market(5).bars("BINANCE:BTCUSDT", INTERVALS["1m"], int(bars.time_ms[0]), int(bars.time_ms[-1]))
            assert bars[:-1].same_as(expected)
            assert client.until("timescale_update")  # a simulated minute is a second
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_port_in_use_is_one_sentence_and_exit_code_2(simulator: SimulatorServer) -> None:
    process = start("--port", str(simulator.port))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.count("\n") == 1
    assert f"cannot listen on 127.0.0.1:{simulator.port}" in errors


def test_a_thread_that_cannot_start_says_so(simulator: SimulatorServer) -> None:
    with pytest.raises(Unavailable, match=f"127.0.0.1.*{simulator.port}"), SimulatorServer(port=simulator.port):
        pass


def test_a_running_clock_runs_at_its_speed() -> None:
    clock = RunningClock(speed=1000, start_ms=5_000_000)
    first = clock.now_ms()
    while clock.now_ms() == first:
        pass
    assert clock.now_ms() > first >= 5_000_000
