"""Who gets in through the whole ASGI application, and who is put out later."""

import asyncio
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings

from config.asgi import application
from infrastructure.persistence import Database
from marketdata.live import process
from marketdata.live.errors import Code
from tests.live.browser import Browser, refusal

pytestmark = pytest.mark.usefixtures("live")
ORIGIN = {"origin": "http://localhost"}


@pytest.fixture(autouse=True)
def login_required(live: None, settings: Settings) -> None:
    settings.ANONYMOUS_VIEWING = False


@pytest.fixture
def user(database: Database) -> User:
    return User.objects.create_user("alice", password="first")


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
        assert (await refusal(browser))[0] == Code.NOT_ALLOWED


@pytest.mark.parametrize("origin", [{"origin": "https://elsewhere.example"}, {}])
async def test_another_origin_is_refused_at_the_handshake(origin: dict[str, str], cookie: dict[str, str]) -> None:
    headers = [(name.encode(), value.encode()) for name, value in (origin | cookie).items()]
    socket = WebsocketCommunicator(application, "/ws/v1/", headers=headers)
    assert (await socket.connect(timeout=20))[0] is False


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def change_password(user: User) -> None:
    user.set_password("second")
    user.save()


def delete(user: User) -> None:
    User.objects.filter(pk=user.pk).delete()


@pytest.mark.parametrize("end", [deactivate, change_password, delete])
async def test_an_account_that_may_no_longer_watch_is_put_out(user: User, cookie: dict[str, str], end: Any) -> None:
    async with Browser(app=application, headers=ORIGIN | cookie) as browser:
        await browser.hear_type("hello")
        await process.of_this_loop().access.check()
        await browser.say(op="subscribe", id=1)
        await browser.hear_type("subscribed")
        await asyncio.to_thread(end, user)
        await process.of_this_loop().access.check()
        assert await refusal(browser) == (
            Code.ACCESS_ENDED,
            "The account was deactivated, or its password has changed.",
            False,
        )


async def test_a_session_that_has_run_out_ends_the_connection(user: User, settings: Settings) -> None:
    settings.SESSION_COOKIE_AGE = 3
    async with Browser(app=application, headers=ORIGIN | await asyncio.to_thread(logged_in, user)) as browser:
        await browser.hear_type("hello")
        ended = asyncio.create_task(refusal(browser))
        while not ended.done():
            await process.of_this_loop().access.check()
            await asyncio.wait([ended], timeout=0.1)
        assert await ended == (Code.ACCESS_ENDED, "The session has run out: log in again.", False)
