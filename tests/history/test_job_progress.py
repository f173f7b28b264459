from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infrastructure.persistence import BarStore
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import IDataProvider
from marketdata.models import BackfillJob
from marketdata.services import backfill
from marketdata.services.backfill_jobs import Progress, progress
from tests.history.jobs import start_here
from tests.platform.conftest import NOW_MS, add_symbol

NOW = datetime(2026, 11, 19, tzinfo=UTC)
HALF = NOW - timedelta(days=5)
RANGE = {"start_at": NOW - timedelta(days=10), "reached_at": HALF}
COIN = "BINANCE:BTCUSDT"


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"bars": 100}, Progress(0.0, 0, None, None, None)),
        ({"bars": 100, "received": 40, "worked_s": 20.0}, Progress(0.4, 40, None, 2.0, 30.0)),
        ({"bars": 100, "held": 25, "received": 50, "worked_s": 20.0}, Progress(0.75, 50, None, 2.5, 10.0)),
        ({"bars": 100, "received": 40, "worked_s": 20.0, "state": "paused"}, Progress(0.4, 40, None, 2.0, 30.0)),
        ({"bars": 100, "received": 40, "worked_s": 20.0, "state": "failed"}, Progress(0.4, 40, None, 2.0, None)),
        ({"bars": 100, "received": 40, "worked_s": 20.0, "ended": "end"}, Progress(1.0, 40, None, 2.0, 0.0)),
        ({"bars": 100, "state": "done"}, Progress(1.0, 0, None, None, None)),
        ({**RANGE, "received": 600, "worked_s": 60.0}, Progress(0.5, 600, HALF, 10.0, 60.0)),
        ({**RANGE, "end_at": HALF, "received": 600, "worked_s": 60.0}, Progress(0.0, 600, HALF, 10.0, None)),
    ],
)
def test_share_rate_and_eta(facts: dict[str, Any], expected: Progress) -> None:
    assert progress(BackfillJob(**{"state": "running", **facts}), NOW) == expected


def test_a_job_knows_what_was_there_before_it_and_how_long_was_worked_on_it(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN)
    for count in (300, 1000):
        job = BackfillJob(symbol=COIN, interval="1m", bars=count)
        start_here(job)
        backfill.run(job, provider, bars, now_ms=NOW_MS)
    job.refresh_from_db()
    assert (job.held, job.received) == (300, 700)
    assert job.started_at is not None
    assert job.finished_at is not None
    assert 0 < job.worked_s <= (job.finished_at - job.started_at).total_seconds()
