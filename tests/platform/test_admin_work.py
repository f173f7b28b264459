"""What an operator does in the admin: symbols, jobs, the upstream switch, schedules."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.apps import apps
from django.conf import LazySettings
from django.contrib.admin.models import LogEntry
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django_q.signing import SignedPackage

from infrastructure.persistence import Database
from infrastructure.scheduling import JobScheduler
from marketdata.models import BackfillJob, Symbol, UpstreamSwitch
from marketdata.services import upstream
from tests.platform.conftest import COIN, SHARE

NO_CHOICE = "Select a valid choice. 7m is not one of the available choices."
ClientOf = Callable[[str], Client]


def text(answer: HttpResponse) -> str:
    return answer.content.decode()


def symbol_form(**changes: Any) -> dict[str, Any]:
    return {
        "key": "NYSE:KO",
        "active": "on",
        "position": "3",
        "stream_quotes": "on",
        "collect_intervals": ["1m"],
        **changes,
    }


def queue(name: str = "pulls") -> list[str]:
    """The functions that wait, in order."""
    waiting = Database().collection(f"jobs_{name}").find({"done": False}).sort("enqueued_at", 1)
    return [
        f"{package['func']} {package['args']} {package['kwargs']}"
        for package in (SignedPackage.loads(job["payload"]) for job in waiting)
    ]


def test_a_symbol_is_added_by_its_key_and_the_rest_is_asked_for(furnished: str, client_of: ClientOf) -> None:
    answer = client_of("operator").post(reverse("admin:marketdata_symbol_add"), symbol_form(key=" nyse:ko "))
    assert answer.status_code == 302
    row = Symbol.objects.get(pk="NYSE:KO")
    assert (row.collect_intervals, row.stream_intervals, row.position) == (["1m"], [], 3)
    assert queue() == ["marketdata.tasks.refresh_symbols (['NYSE:KO'],) {}"]


@pytest.mark.parametrize(
    ("changes", "field", "error"),
    [
        ({"key": "KO"}, "key", "'KO' is not of the form EXCHANGE:TICKER, as in NASDAQ:AAPL."),
        ({"key": COIN}, "key", "Symbol with this Symbol already exists."),
        ({"collect_intervals": ["7m"]}, "collect_intervals", NO_CHOICE),
    ],
)
def test_a_wrong_symbol_is_refused(
    furnished: str, client_of: ClientOf, changes: dict[str, Any], field: str, error: str
) -> None:
    answer = client_of("operator").post(reverse("admin:marketdata_symbol_add"), symbol_form(**changes))
    assert answer.context["adminform"].form.errors == {field: [error]}
    assert Symbol.objects.count() == 2


def test_a_change_keeps_what_was_refreshed_meanwhile(furnished: str, client_of: ClientOf) -> None:
    client, path = client_of("operator"), reverse("admin:marketdata_symbol_change", args=[COIN])
    form = symbol_form(position="9", collect_intervals=["5m", "1d"])
    del form["key"]
    Symbol.objects.filter(pk=COIN).update(description="Bitcoin, refreshed")
    assert client.post(path, form).status_code == 302
    row = Symbol.objects.get(pk=COIN)
    assert (row.description, row.position, row.collect_intervals) == ("Bitcoin, refreshed", 9, ["5m", "1d"])
    Symbol.objects.filter(pk=COIN).update(has_intraday=False)
    answer = client.post(path, form)
    assert answer.context["adminform"].form.errors == {"collect_intervals": ["The source offers no bars of 5m for it."]}


def act(client: Client, model: str, action: str, *selected: object) -> HttpResponse:
    data = {"action": action, "_selected_action": [str(key) for key in selected]}
    return client.post(reverse(f"admin:marketdata_{model}_changelist"), data, follow=True)


def test_actions_enqueue_work_and_say_who_did_it(furnished: str, client_of: ClientOf) -> None:
    client = client_of("operator")
    act(client, "symbol", "refresh_information", COIN, SHARE)
    act(client, "symbol", "pull_now", COIN, SHARE)
    assert queue() == [
        f"marketdata.tasks.refresh_symbols (['{COIN}', '{SHARE}'],) {{}}",
        f"marketdata.tasks.pull_bars ('1m',) {{'only': ['{COIN}']}}",
        f"marketdata.tasks.pull_bars ('1d',) {{'only': ['{COIN}']}}",
    ]


def test_a_viewer_can_start_nothing(furnished: str, client_of: ClientOf) -> None:
    before = list(Symbol.objects.order_by("pk").values())
    client = client_of("viewer")
    for action in ("refresh_information", "pull_now", "backfill", "activate", "retire", "delete_selected"):
        act(client, "symbol", action, COIN, SHARE)
    assert list(Symbol.objects.order_by("pk").values()) == before
    assert (queue(), queue("backfills"), BackfillJob.objects.count()) == ([], [], 1)


def test_a_job_is_asked_for_queued_and_recorded(furnished: str, client_of: ClientOf) -> None:
    BackfillJob.objects.all().delete()
    form = {"symbol": COIN.lower(), "interval": "5m", "bars": "", "start_at_0": "2026-01-01", "start_at_1": "00:00"}
    answer = client_of("operator").post(
        reverse("admin:marketdata_backfilljob_add"), {**form, "end_at_0": "", "end_at_1": ""}
    )
    assert answer.status_code == 302
    (job,) = BackfillJob.objects.all()
    assert (job.symbol, job.interval, job.bars, job.start_at, job.state, str(job.created_by)) == (
        COIN, "5m", None, datetime(2026, 1, 1, tzinfo=UTC), "queued", "a-operator",
    )  # fmt: skip
    assert queue("backfills") == [f"marketdata.tasks.run_backfill ('{job.pk}', 0) {{}}"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"bars": ""}, "Say how much: a number of bars, or the time to begin from."),
        ({"bars": "0"}, "The number of bars must be between 1 and 10,000,000, not 0."),
        ({"bars": "5", "symbol": "NO:ONE"}, "NO:ONE is not a symbol of this platform: add it first."),
    ],
)
def test_a_wrong_job_is_refused(furnished: str, client_of: ClientOf, changes: dict[str, str], error: str) -> None:
    form = {"symbol": COIN, "interval": "1m", "start_at_0": "", "start_at_1": "", "end_at_0": "", "end_at_1": ""}
    answer = client_of("operator").post(reverse("admin:marketdata_backfilljob_add"), {**form, **changes})
    errors = answer.context["adminform"].form.errors
    assert [message for field in errors.values() for message in field] == [error]
    assert (BackfillJob.objects.count(), queue("backfills")) == (1, [])


def test_the_switch_says_who_turned_it_and_why(furnished: str, client_of: ClientOf) -> None:
    client = client_of("operator")
    path = reverse("admin:marketdata_upstreamswitch_change", args=["upstream"])
    assert client.get(reverse("admin:marketdata_upstreamswitch_changelist")).headers["Location"] == path
    refused = client.post(path, {"reason": ""})
    assert refused.context["adminform"].form.non_field_errors() == [
        "Say why it is switched off: whoever finds it off will want to know."
    ]
    client.post(path, {"reason": "too many requests"})
    (switch,) = UpstreamSwitch.objects.all()
    assert (switch.on, switch.reason, switch.changed_by) == (False, "too many requests", "a-operator")
    with pytest.raises(upstream.UpstreamOff):
        upstream.check()
    client.post(path, {"on": "on", "reason": "too many requests"})
    upstream.check()
    assert LogEntry.objects.filter(object_id="upstream").count() == 2


def test_a_viewer_sees_the_switch_and_cannot_turn_it(furnished: str, client_of: ClientOf) -> None:
    path = reverse("admin:marketdata_upstreamswitch_change", args=["upstream"])
    assert client_of("viewer").post(path, {"reason": "mischief"}).status_code == 403
    upstream.check()
    assert UpstreamSwitch.objects.count() == 0


def test_the_page_says_when_the_environment_outranks_it(
    furnished: str, client_of: ClientOf, settings: LazySettings
) -> None:
    settings.UPSTREAM = False
    page = text(client_of("viewer").get(reverse("admin:marketdata_upstreamswitch_change", args=["upstream"])))
    assert "UPSTREAM=off in the environment" in page


def test_a_schedule_can_be_timed_and_disabled_but_runs_nothing_else(furnished: str, client_of: ClientOf) -> None:
    schedule = apps.get_model("django_q", "Schedule").objects.get(name="pull 1m")
    client, path = client_of("operator"), reverse("admin:django_q_schedule_change", args=[schedule.pk])
    assert client.post(path, {"cron": "*/3 * * * *", "enabled": "on", "func": "os.system"}).status_code == 302
    (info,) = (one for one in JobScheduler().schedules() if one.name == "pull 1m")
    assert (info.cron, info.enabled, info.func) == ("*/3 * * * *", True, "marketdata.tasks.pull_bars")
    client.post(path, {"cron": "*/3 * * * *"})
    (info,) = (one for one in JobScheduler().schedules() if one.name == "pull 1m")
    assert (info.cron, info.enabled) == ("*/3 * * * *", False)
    assert "cron" in client.post(path, {"cron": "whenever"}).context["adminform"].form.errors
    assert client.get(reverse("admin:django_q_schedule_add")).status_code == 403


def test_a_schedule_runs_now(furnished: str, client_of: ClientOf) -> None:
    schedule = apps.get_model("django_q", "Schedule").objects.get(name="refresh quotes")
    data = {"action": "run_now", "_selected_action": [str(schedule.pk)]}
    client_of("operator").post(reverse("admin:django_q_schedule_changelist"), data)
    assert queue() == ["marketdata.tasks.refresh_quotes () {}"]
