"""Who gets in through the whole ASGI application, and who is put out later."""

import asyncio
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client
from pytest_django.fixtures import Settings

from config.asgi import application
from infrastructure.persistence import Database
from marketdata.live import process
from marketdata.live.errors import Code
from tests.live.browser import Browser, refusal

pytestmark = pytest.mark.usefixtures("live")
ORIGIN = {"origin": "http://localhost"}
ENDED = "The account was deactivated, its password has changed, or its key or session has ended."


@pytest.fixture(autouse=True)
def login_required(live: None, settings: Settings) -> None:
    settings.ANONYMOUS_VIEWING = False


@pytest.fixture
def user(database: Database) -> User:
    return User.objects.create_user("alice", password="first", is_staff=True)


@pytest.fixture
def cookie(user: User) -> dict[str, str]:
    return logged_in(user)


def logged_in(user: User) -> dict[str, str]:
    client = Client()
    client.force_login(user)
    return {"cookie": f"sessionid={client.cookies[django_settings.SESSION_COOKIE_NAME].value}"}


async def test_a_session_gets_in_and_nobody_else(cookie: dict[str, str]) -> None:
    async with Browser(app=application, headers=ORIGIN | cookie) as browser:
        assert (await browser.hear())["type"] == "hello"
    async with Browser(app=application, headers=ORIGIN) as browser:
        await browser.say(op="reset")
        assert (await refusal(browser))[0] == Code.NOT_ALLOWED


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "", "http://localhost.elsewhere.example"])
async def test_another_origin_is_refused_at_the_handshake(origin: str, cookie: dict[str, str]) -> None:
    headers = [(name.encode(), value.encode()) for name, value in ({"origin": origin} | cookie).items()]
    socket = WebsocketCommunicator(application, "/ws/v1/", headers=headers)
    assert (await socket.connect(timeout=20))[0] is False


async def test_without_an_origin_a_session_counts_for_nothing(cookie: dict[str, str]) -> None:
    async with Browser(app=application, headers=cookie) as browser:
        await browser.say(op="subscribe", quotes=["TEST:TICK"])
        assert (await refusal(browser))[0] == Code.NOT_ALLOWED


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user: User) -> None:
    user.set_password("second")
    user.save()


def delete(user: User) -> None:
    User.objects.filter(pk=user.pk).delete()


def log_out(cookie: dict[str, str]) -> None:
    client = Client()
    client.cookies[django_settings.SESSION_COOKIE_NAME] = cookie["cookie"].partition("=")[2]
    assert client.post("/admin/logout/").status_code == 200


@pytest.mark.parametrize("end", [deactivate, change_password, delete])
async def test_an_account_that_may_no_longer_watch_is_put_out(user: User, cookie: dict[str, str], end: Any) -> None:
    async with Browser(app=application, headers=ORIGIN | cookie) as browser:
        await browser.hear_type("hello")
        await process.of_this_loop().access.check()
        await browser.say(op="subscribe", id=1)
        await browser.hear_type("subscribed")
        await asyncio.to_thread(end, user)
        await process.of_this_loop().access.check()
        assert await refusal(browser) == (Code.ACCESS_ENDED, ENDED, False)


async def test_logging_out_ends_the_connections_of_that_session_alone(user: User, cookie: dict[str, str]) -> None:
    other = await asyncio.to_thread(logged_in, user)
    async with (
        Browser(app=application, headers=ORIGIN | cookie) as browser,
        Browser(app=application, headers=ORIGIN | other) as elsewhere,
    ):
        await browser.hear_type("hello")
        await elsewhere.hear_type("hello")
        await asyncio.to_thread(log_out, cookie)
        await process.of_this_loop().access.check()
        assert await refusal(browser) == (Code.ACCESS_ENDED, ENDED, False)
        await elsewhere.say(op="subscribe", id=1)
        await elsewhere.hear_type("subscribed")


async def test_a_session_ends_when_its_cookie_does_not_an_age_after_it_connected(
    user: User, cookie: dict[str, str], settings: Settings
) -> None:
    async with Browser(app=application, headers=ORIGIN | cookie) as browser:
        await browser.hear_type("hello")
        access = process.of_this_loop().access
        ((holder, _),) = access._admitted.values()
        signed_s = signing.b62_decode(cookie["cookie"].split(":")[-2])
        assert holder.ends_s == signed_s + settings.SESSION_COOKIE_AGE


async def test_an_account_has_so_many_connections_and_gets_them_back(
    user: User, cookie: dict[str, str], settings: Settings
) -> None:
    settings.LIVE_MAX_CONNECTIONS_PER_ACCOUNT = 1
    async with Browser(app=application, headers=ORIGIN | cookie) as first:
        await first.hear_type("hello")
        async with Browser("10.0.0.2", application, ORIGIN | cookie) as second:
            why = "There are 1 connections of this account already."
            assert await refusal(second) == (Code.TOO_MANY_OF_ACCOUNT, why, True)
    async with Browser(app=application, headers=ORIGIN | cookie) as third:
        await third.hear_type("hello")
    assert process.of_this_loop().accounts.open == {}


async def test_a_session_that_has_run_out_ends_the_connection(user: User, settings: Settings) -> None:
    settings.SESSION_COOKIE_AGE = 3
    async with Browser(app=application, headers=ORIGIN | await asyncio.to_thread(logged_in, user)) as browser:
        await browser.hear_type("hello")
        ended = asyncio.create_task(refusal(browser))
        while not ended.done():
            await process.of_this_loop().access.check()
            await asyncio.wait([ended], timeout=0.1)
        assert await ended == (Code.ACCESS_ENDED, "The session has run out: log in again.", False)
