"""Backfill jobs in the admin: their state and progress, and who may pause, cancel and let them go on."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from marketdata.models import BackfillJob
from tests.platform.conftest import COIN
from tests.platform.test_admin_symbols import messages, press, shown_buttons
from tests.platform.test_admin_work import act, queue, text

ClientOf = Callable[[str], Client]
State = BackfillJob.State
LISTED = "admin:marketdata_backfilljob_changelist"


def test_jobs_are_stopped_and_let_go_on(furnished: str, client_of: ClientOf) -> None:
    client = client_of("operator")
    (job,) = BackfillJob.objects.all()
    done = BackfillJob.objects.create(symbol=COIN, interval="1d", bars=5, state="done")
    failed = BackfillJob.objects.create(symbol=COIN, interval="1d", bars=5, state="failed")
    page = act(client, "backfilljob", "cancel", job.pk, done.pk, failed.pk)
    assert messages(page) == ["1 job cancelled; left alone: 1 failed, 1 done."]
    act(client, "backfilljob", "let_go_on", job.pk, done.pk)
    job.refresh_from_db()
    assert (job.state, job.run, queue("backfills")) == (
        "queued", 1, [f"marketdata.tasks.run_backfill ('{job.pk}', 1) {{}}"],
    )  # fmt: skip
    assert messages(act(client, "backfilljob", "pause", job.pk)) == ["1 job paused."]
    job.refresh_from_db()
    assert (job.state, BackfillJob.objects.get(pk=done.pk).state) == ("paused", "done")
    assert [entry.change_message for entry in LogEntry.objects.order_by("action_time")] == [
        "Cancelled.", "Queued again.", "Paused.",
    ]  # fmt: skip


def test_a_job_of_a_symbol_that_was_deleted_is_not_let_go_on(furnished: str, client_of: ClientOf) -> None:
    job = BackfillJob.objects.create(symbol="NO:ONE", interval="1d", bars=5, state="cancelled")
    page = act(client_of("operator"), "backfilljob", "let_go_on", job.pk)
    assert messages(page) == ["0 jobs queued again; left alone: 1 of a symbol that was deleted."]
    assert (BackfillJob.objects.get(pk=job.pk).state, queue("backfills")) == ("cancelled", [])


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        (State.QUEUED, ["Pause", "Cancel"]),
        (State.RUNNING, ["Pause", "Cancel"]),
        (State.PAUSED, ["Let go on", "Cancel"]),
        (State.FAILED, ["Let go on"]),
        (State.CANCELLED, ["Let go on"]),
        (State.DONE, []),
    ],
)
def test_a_job_s_page_has_the_buttons_of_its_state(
    furnished: str, client_of: ClientOf, state: State, buttons: list[str]
) -> None:
    job = BackfillJob.objects.create(symbol=COIN, interval="1m", bars=5, state=state)
    assert shown_buttons(client_of("operator"), "backfilljob", job.pk) == buttons
    assert shown_buttons(client_of("viewer"), "backfilljob", job.pk) == []
    page = text(client_of("superuser").get(reverse("admin:marketdata_backfilljob_change", args=[job.pk])))
    assert ('http-equiv="refresh"' in page) == (state in (State.QUEUED, State.RUNNING))


def test_a_job_is_paused_by_its_button_and_by_nobody_who_may_not(furnished: str, client_of: ClientOf) -> None:
    (job,) = BackfillJob.objects.all()
    viewer = client_of("viewer")
    for action in ("pause", "cancel", "let_go_on"):
        assert press(viewer, "backfilljob", job.pk, action).status_code == 403
        act(viewer, "backfilljob", action, job.pk)
    job.refresh_from_db()
    assert job.state == "running"
    page = press(client_of("operator"), "backfilljob", job.pk, "pause")
    job.refresh_from_db()
    assert (messages(page), job.state) == (["1 job paused."], "paused")


def test_a_job_tells_how_far_it_is_how_fast_and_when_it_will_be_done(furnished: str, client_of: ClientOf) -> None:
    BackfillJob.objects.update(bars=10_000, received=2_400, held=100, worked_s=2.0, beat_at=timezone.now())
    client = client_of("viewer")
    for path in (reverse(LISTED), reverse("admin:marketdata_backfilljob_change", args=[BackfillJob.objects.get().pk])):
        page = text(client.get(path))
        assert '<progress max="100" value="25"></progress> 25 %<div class="quiet">2,500 of 10,000 bars</div>' in page
        assert re.search(r"[>\s]1,200[<\s]", page) and re.search(r"[>\s]6 s[<\s]", page)
        assert '<span class="mark mark-running" title="">running</span>' in page


def test_a_job_for_a_range_tells_its_progress_by_time(furnished: str, client_of: ClientOf) -> None:
    now = timezone.now()
    start, reached = now - timedelta(days=10), now - timedelta(days=8)
    BackfillJob.objects.update(bars=None, start_at=start, end_at=now, reached_at=reached, received=50, worked_s=60.0)
    page = text(client_of("viewer").get(reverse(LISTED)))
    said = f"50 bars of {start:%Y-%m-%d} – {now:%Y-%m-%d}"
    assert f'<progress max="100" value="80"></progress> 80 %<div class="quiet">{said}</div>' in page
    assert f">{reached:%Y-%m-%d %H:%M}<" in page and ">15 s<" in page


def test_a_job_that_nobody_works_on_is_marked(furnished: str, client_of: ClientOf) -> None:
    BackfillJob.objects.update(beat_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert "mark-stalled" in text(client_of("viewer").get(reverse(LISTED)))
