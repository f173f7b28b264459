"""The recorder in front of a real disk: what is kept, what is not and says so, and that nobody waits for it."""

import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from infrastructure.replay import Recorder
from infrastructure.replay.captures import read
from infrastructure.replay.recorder import RECORD_WEIGHT
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import TradingViewConfig, TradingViewWebSocketProvider
from infrastructure.tradingview.base import QuoteUpdate, Wanted
from infrastructure.tradingview.messages import request
from tests.tradingview.listening import Sink
from tests.tradingview.settings_for import config_for

TOKEN, COOKIE = "made-up-token-7f3a", "made-up-cookie-9c1e"
HEARTBEAT = "~m~4~m~~h~1"


def said(path: Path) -> list[tuple[int, str, str]]:
    return [(record.connection, record.kind, record.text) for record in read(path)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "capture"


def test_both_directions_of_every_connection_are_kept_with_their_times(path: Path) -> None:
    happened = [(0, "+", ""), (1, "+", ""), (1, ">", "a"), (0, "<", HEARTBEAT), (1, "-", ""), (1, "-", "It was lost.")]
    with Recorder(path) as recorder:
        for one in happened:
            recorder(*one)  # type: ignore[arg-type]
    assert said(path) == happened
    records = list(read(path))
    assert [record.at_s for record in records] == sorted(record.at_s for record in records)
    drift = [record.wall_ms - 1000 * record.at_s for record in records]
    assert max(drift) - min(drift) < 1000


def test_only_its_owner_may_read_it(path: Path) -> None:
    with Recorder(path):
        pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_secret_is_in_it(path: Path) -> None:
    with SimulatorServer(paid_tokens=frozenset({TOKEN}), paid_depth=5000) as server, Recorder(path) as recorder:
        for token in (TOKEN, "forged-token-51d0"):
            config = config_for(server, auth_token=token, session_cookie=COOKIE)
            stream(config, recorder, until="live" if token == TOKEN else "refused")
        recorder(0, "<", request("protocol_error", f"wrong data: {TOKEN}"))
    text = path.read_text()
    assert not [secret for secret in (TOKEN, COOKIE, "forged", "charts-free-1-tvbs-1") if secret in text]
    assert text.count('"p":["<token>"]') == 2
    assert text.count('"session_id":"<session>"') == 2
    assert '"timestampMs":' in text
    assert '"wrong data: <secret>"' in text


def stream(config: TradingViewConfig, recorder: Recorder, until: str) -> None:
    sink = Sink()
    provider = TradingViewWebSocketProvider(config, None, recorder)
    provider.want(Wanted(frozenset({"TEST:TICK"})))
    provider.start(sink)
    sink.until(lambda _: sink.states[-1] == until and (until == "refused" or sink.of(QuoteUpdate)))
    provider.close()


def test_what_the_disk_has_no_time_for_is_counted_where_it_would_stand(path: Path) -> None:
    total = 20_000
    with Recorder(path, backlog=RECORD_WEIGHT + len(HEARTBEAT)) as recorder:  # room for one
        for _ in range(total):
            recorder(0, "<", HEARTBEAT)
    records = list(read(path))
    lost = [int(record.text) for record in records if record.kind == "!"]
    assert lost
    assert min(lost) > 0
    assert sum(lost) + sum(record.kind == "<" for record in records) == total
    before = [one.kind for one, other in pairwise(records) if other.kind == "!"]
    assert set(before) == {"<"}


def test_a_file_that_exists_is_not_touched(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text("precious")
    with Recorder(path) as recorder:
        recorder(0, "<", HEARTBEAT)
    assert path.read_text() == "precious"
    assert caplog.messages == [f"{path} cannot be made, nothing is recorded: File exists"]


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(tmp_path / "none" / "capture") as recorder:
        recorder(0, "<", HEARTBEAT)
    assert caplog.messages == [
        f"{tmp_path}/none/capture cannot be made, nothing is recorded: No such file or directory"
    ]


def test_a_recording_ends_at_its_limit(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(path, limit_bytes=1000) as recorder:
        for _ in range(100):
            recorder(0, "<", HEARTBEAT)
    assert path.stat().st_size <= 1000
    assert set(said(path)) == {(0, "<", HEARTBEAT)}
    assert caplog.messages == [f"{path} is not written any further: it has reached its limit"]


WRITES = """
import resource, signal, sys
from pathlib import Path
import logging
logging.basicConfig(format="%(message)s")
from infrastructure.replay.recorder import Recorder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
with Recorder(Path(sys.argv[1])) as recorder:
    print("begun", flush=True)
    for n in range(5_000_000):
        recorder(0, "<", "~m~4~m~~h~1")
        if sys.argv[2:] and n == 100_000:
            break
print("went on", flush=True)
"""


def writing(path: Path, *limit: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITES, str(path), *limit], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_full_disk_ends_the_recording_and_nothing_else(path: Path) -> None:
    with writing(path, "50000") as process:
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "begun\nwent on\n")
    assert errors == f"{path} is not written any further: File too large\n"
    assert path.stat().st_size == 50_000
    assert set(said(path)) == {(0, "<", HEARTBEAT)}


def test_a_kill_leaves_a_file_that_can_be_read(path: Path) -> None:
    with writing(path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        while not path.exists() or path.stat().st_size < 100_000:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    assert set(said(path)) == {(0, "<", HEARTBEAT)}
    assert len(said(path)) > 1000
