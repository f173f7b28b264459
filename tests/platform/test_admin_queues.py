"""Queues in the admin: what waits, and the jobs that were given up."""

import re
from collections.abc import Callable

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse

from infrastructure.persistence import Database
from infrastructure.scheduling import JobScheduler
from tests.platform.test_admin_symbols import messages
from tests.platform.test_admin_work import queue, text

ClientOf = Callable[[str], Client]
QUEUES = "admin:queues"


@pytest.fixture
def given_up(furnished: str) -> None:
    """Two jobs that no worker survived, and one that waits."""
    for key, queue_name in (("one", "pulls"), ("two", "backfills"), ("three", "pulls")):
        JobScheduler().enqueue("marketdata.tasks.pull_bars", "1m", key=key, queue=queue_name)
    dead = [{"$set": {"done": True, "dead": True, "deliveries": 6, "expires_at": {"$add": ["$$NOW", 604_800_000]}}}]
    for key, queue_name in (("one", "pulls"), ("two", "backfills")):
        Database().collection(f"jobs_{queue_name}").update_one({"_id": key}, dead)


def test_what_was_given_up_is_seen(given_up: None, client_of: ClientOf) -> None:
    page = text(client_of("operator").get(reverse(QUEUES)))
    rows = [re.sub(r"<[^>]*>|\s+", " ", row).split() for row in re.findall(r"<tr>(<th scope.*?)</tr>", page, re.S)]
    assert rows == [["pulls", "1", "0", "1"], ["backfills", "0", "0", "1"]]
    assert page.count("marketdata.tasks.pull_bars(&#x27;1m&#x27;)") == 2
    front = text(client_of("viewer").get(reverse("admin:index")))
    assert front.count("1 given up") == 2 and "pulls: 1 waiting, 0 running" in front


def test_what_was_given_up_is_tried_again_or_dropped(given_up: None, client_of: ClientOf) -> None:
    client = client_of("operator")
    page = client.post(reverse(QUEUES), {"action": "again", "job": ["pulls one", "pulls gone"]}, follow=True)
    assert messages(page) == ["1 job queued again; 1 no longer among those given up."]
    assert len(queue()) == 2
    page = client.post(reverse(QUEUES), {"action": "drop", "job": ["backfills two"]}, follow=True)
    assert messages(page) == ["1 job dropped."]
    assert (JobScheduler().dead_jobs(), queue("backfills")) == ([], [])
    page = client.post(reverse(QUEUES), {"action": "drop", "job": ["nowhere x"]}, follow=True)
    assert messages(page) == ["There is no queue 'nowhere', only pulls, backfills."]


def test_only_who_may_change_schedules_acts_and_only_who_sees_them_looks(given_up: None, client_of: ClientOf) -> None:
    viewer = client_of("viewer")
    data = {"action": "drop", "job": ["pulls one"]}
    assert (viewer.get(reverse(QUEUES)).status_code, viewer.post(reverse(QUEUES), data).status_code) == (403, 403)
    assert reverse(QUEUES) not in text(viewer.get(reverse("admin:index")))
    assert len(JobScheduler().dead_jobs()) == 2


def test_a_schedule_runs_now_by_its_button(furnished: str, client_of: ClientOf) -> None:
    row = apps.get_model("django_q", "Schedule").objects.get(name="refresh quotes")
    path = reverse("admin:django_q_schedule_do", args=[row.pk, "run_now"])
    assert client_of("viewer").post(path).status_code == 403
    assert messages(client_of("operator").post(path, follow=True)) == ["Queued 1 run."]
    assert queue() == ["marketdata.tasks.refresh_quotes () {}"]
