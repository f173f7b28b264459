"""API keys and tickets over HTTP, and the operator's page of keys."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client
from django.utils import timezone

from infrastructure.persistence import Database
from marketdata.models import ApiKey
from marketdata.services import api_keys, attempts
from marketdata.services.attempts import Attempts

LOGIN = "Log in, or send a valid API key, to read market data."


@pytest.fixture(autouse=True)
def private(empty: None, settings: LazySettings) -> Iterator[None]:
    settings.ANONYMOUS_VIEWING = False
    attempts.of_this_process.clear()
    yield
    attempts.of_this_process.clear()


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_user("robot", password="first")


@pytest.fixture
def key(user: User) -> str:
    return api_keys.create(user, "test")[1]


def ask(key: str | None, path: str = "symbols", method: str = "get") -> tuple[int, Any]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    answer = getattr(Client(enforce_csrf_checks=True), method)(f"/api/v1/{path}", headers=headers)
    return answer.status_code, answer.json()


def test_a_key_reads_the_api_and_its_use_is_noted_to_the_hour(key: str) -> None:
    assert ask(None) == (401, {"detail": LOGIN})
    assert ask(key) == (200, [])
    used = ApiKey.objects.get().used_at
    assert used is not None
    assert ask(key) == (200, [])
    assert ApiKey.objects.get().used_at == used
    ApiKey.objects.update(used_at=used - timedelta(hours=2))
    assert ask(key) == (200, [])
    assert ApiKey.objects.get().used_at >= used


def test_a_wrong_key_is_refused_even_where_anybody_may_look(key: str, settings: LazySettings) -> None:
    settings.ANONYMOUS_VIEWING = True
    assert ask(None) == (200, [])
    assert ask("md_wrong") == (401, {"detail": LOGIN})
    ApiKey.objects.update(revoked_at=timezone.now())
    assert ask(key) == (401, {"detail": LOGIN})


def test_only_a_digest_is_stored(key: str) -> None:
    (document,) = Database().collection("api_key").find()
    assert key.split("_", 2)[2] not in repr(document)
    assert document["_id"] == key.split("_")[1]


def test_an_address_that_fails_too_often_must_wait(key: str) -> None:
    for _ in range(attempts.LIMIT):
        assert ask("md_wrong")[0] == 401
    assert ask(key) == (429, {"detail": "Too many failed attempts from this address: wait a minute."})


def test_failures_age_and_addresses_are_bounded() -> None:
    now = [0.0]
    tried = Attempts(2, 60.0, lambda: now[0], addresses=2)
    for at in (0.0, 30.0):
        now[0] = at
        tried.failed("a")
    assert (tried.may_try("a"), tried.may_try("b")) == (False, True)
    now[0] = 60.1
    assert tried.may_try("a")
    tried.failed("a")
    assert not tried.may_try("a")
    for address in ("b", "c"):
        tried.failed(address)
    assert tried.may_try("a")  # forgotten, as the one that failed longest ago


def test_a_ticket_needs_a_session_with_its_csrf_token_or_a_key(user: User, key: str, settings: LazySettings) -> None:
    settings.ANONYMOUS_VIEWING = True  # a ticket is somebody's, even where anybody may look
    assert ask(None, "tickets", "post") == (401, {"detail": LOGIN})
    assert ask(key, "tickets", "post")[0] == 200
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    assert browser.post("/api/v1/tickets").json() == {"detail": "The CSRF token is missing or wrong."}
    browser.get("/admin/login/")  # any page with a form sets the cookie
    token = browser.cookies["csrftoken"].value
    answer = browser.post("/api/v1/tickets", headers={"X-CSRFToken": token})
    assert (answer.status_code, answer.json()["life_s"]) == (200, 60)
    said = signing.loads(answer.json()["ticket"], salt="marketdata.live.ticket")
    assert said[:3] == [str(user.pk), user.get_session_auth_hash(), ""]


def test_the_admin_shows_a_new_key_once_and_revokes_it(user: User) -> None:
    admin = Client()
    admin.force_login(User.objects.create_superuser("boss", password="x"))
    page = admin.post("/admin/marketdata/apikey/add/", {"name": "reports", "user": str(user.pk)})
    shown = re.search(r"<code>(md_\S+)</code>", page.content.decode())
    assert shown is not None
    assert "messages" not in page.cookies
    assert ask(shown[1]) == (200, [])
    row = ApiKey.objects.get()
    for path in ("", f"{row.pk}/change/"):
        again = admin.get(f"/admin/marketdata/apikey/{path}")
        assert again.status_code == 200
        assert f"md_{row.pk}_…" in again.content.decode()
        assert shown[1] not in again.content.decode()
    done = admin.post(
        "/admin/marketdata/apikey/", {"action": "revoke", "_selected_action": row.pk}, follow=True
    ).content.decode()
    assert "1 key revoked; live connections end within a minute." in done
    assert ask(shown[1])[0] == 401
    assert "Revoked." in [entry.change_message for entry in LogEntry.objects.filter(object_id=row.pk)]


def test_keys_are_for_superusers_alone(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_staff=True)
    staff = Client()
    staff.force_login(User.objects.get(pk=user.pk))
    assert staff.get("/admin/marketdata/apikey/").status_code == 403
    assert staff.post("/admin/marketdata/apikey/add/", {"name": "x", "user": str(user.pk)}).status_code == 403
