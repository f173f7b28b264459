import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from infrastructure.persistence import BarStore, Database
from infrastructure.scheduling import JobScheduler
from marketdata.models import BackfillJob

COIN, SHARE = "BINANCE:BTCUSDT", "NASDAQ:AAPL"
AT = datetime(2026, 11, 19, 12, tzinfo=UTC)


def manage(*arguments: str) -> str:
    out = StringIO()
    call_command("jobs", *arguments, stdout=out)
    return out.getvalue()


@pytest.fixture
def jobs(bars: BarStore) -> dict[str, BackfillJob]:
    """One in each state."""
    JobScheduler().ensure()
    facts: dict[str, dict[str, Any]] = {
        "queued": {"bars": 100},
        "running": {"bars": 1000, "received": 250, "worked_s": 5.0, "reached_at": AT},
        "paused": {"start_at": AT - timedelta(days=3), "end_at": AT},
        "failed": {"bars": 100, "error": "The source says no."},
        "cancelled": {"bars": 100},
        "done": {"bars": 100},
    }
    return {
        state: BackfillJob.objects.create(symbol=COIN, interval="1m", state=state, **more)
        for state, more in facts.items()
    }


def states() -> list[str]:
    return [job.state for job in BackfillJob.objects.order_by("pk")]


def test_jobs_are_listed_with_their_progress(jobs: dict[str, BackfillJob]) -> None:
    listed = json.loads(manage("--json"))
    assert [(one["job"], one["state"]) for one in listed] == [
        (str(job.pk), state) for state, job in reversed(jobs.items())
    ]
    (running,) = json.loads(manage("list", "running", "--json"))
    assert {name: running[name] for name in ("share", "received", "rate", "eta_s", "reached_at", "error")} == {
        "share": 0.25, "received": 250, "rate": 50.0, "eta_s": 15.0, "reached_at": "2026-11-19T12:00:00Z",
        "error": None,
    }  # fmt: skip
    table = manage("list", str(jobs["running"].pk), "failed")
    for part in ("1,000 bars", "25%", "0:00:15", "2026-11-19 12:00", "The source", "running", "failed"):
        assert part in table
    assert "cancelled" not in table
    assert [one["state"] for one in json.loads(manage("list", "all", "--limit", "2", "--json"))] == [
        "done",
        "cancelled",
    ]
    assert "2026-11-16 12:00 to" in manage("list", "paused")


def test_all_means_what_can_be_changed(jobs: dict[str, BackfillJob]) -> None:
    assert manage("pause", "all") == "2 paused\n"
    assert states() == ["paused", "paused", "paused", "failed", "cancelled", "done"]
    assert manage("resume", "all") == "3 queued for the worker\n"
    assert states() == ["queued", "queued", "queued", "failed", "cancelled", "done"]
    assert Database().collection("jobs_backfills").count_documents({"done": False}) == 3
    assert manage("cancel", "all") == "3 cancelled\n"
    assert states() == ["cancelled"] * 3 + ["failed", "cancelled", "done"]


def test_ids_and_states_name_jobs(jobs: dict[str, BackfillJob]) -> None:
    failed, done = str(jobs["failed"].pk), str(jobs["done"].pk)
    assert manage("resume", failed, done, "cancelled") == "2 queued for the worker, 1 in another state left alone\n"
    assert states() == ["queued", "running", "paused", "queued", "queued", "done"]
    assert json.loads(manage("pause", failed, "--json")) == {"paused": [failed], "untouched": 0}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("pause",), "Say which: ids, states, or all, as in manage.py jobs pause all."),
        (("pause", "done"), "No job was paused."),
        (("cancel", "0" * 24), f"There is no backfill job '{'0' * 24}'."),
        (("list", "sleeping"), "There is no backfill job 'sleeping'."),
        (("list", "--limit", "0"), "--limit takes a number from 1 on, not 0."),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    jobs: dict[str, BackfillJob], arguments: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(CommandError) as refused:
        manage(*arguments)
    assert (str(refused.value), refused.value.returncode) == (sentence, 1)
    assert states() == list(jobs)
