"""Programs get in with a ticket or an API key as their first message, and are put out when it is no longer good."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from config.asgi import application
from infrastructure.persistence import Database
from marketdata.live import process
from marketdata.live.errors import Code
from marketdata.models import ApiKey
from marketdata.services import api_keys, attempts, holders
from marketdata.services.holders import Holder
from tests.live.browser import Browser, refusal
from tests.live.test_access import ENDED

pytestmark = pytest.mark.usefixtures("live")
NOT_VALID = (Code.AUTH_FAILED, "The ticket or key is not valid.", False)


@pytest.fixture(autouse=True)
def login_required(live: None, settings: Settings) -> None:
    settings.ANONYMOUS_VIEWING = False


@pytest.fixture
def user(database: Database) -> User:
    return User.objects.create_user("robot", password="first")


@pytest.fixture
def key(user: User) -> str:
    return api_keys.create(user, "test")[1]


def program(address: str = "10.0.0.1") -> Browser:
    return Browser(address, application)


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


async def test_a_key_lets_in_and_everything_else_is_as_for_a_browser(key: str) -> None:
    async with program() as one:
        await one.say(op="auth", key=key)
        assert (await one.hear())["type"] == "hello"
        await one.say(op="subscribe", id=1, quotes=["TEST:TICK"])
        assert (await one.hear())["quotes"] == ["TEST:TICK"]
        await one.say(op="auth", key="again")  # it is in already
        await one.say(op="unsubscribe", id=2)
        assert (await one.hear_type("subscribed"))["id"] == 1 + 1


async def test_a_ticket_asked_for_with_a_key_lets_in_for_a_minute(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await in_thread(lambda: Client().post("/api/v1/tickets", headers={"Authorization": f"Bearer {key}"}))
    told = answer.json()
    assert (answer.status_code, told["life_s"]) == (200, 60)
    async with program() as one:
        await one.say(op="auth", ticket=told["ticket"])
        assert (await one.hear())["type"] == "hello"
    monkeypatch.setattr(holders, "TICKET_S", -1)
    async with program() as late:
        await late.say(op="auth", ticket=told["ticket"])
        assert (await refusal(late))[::2] == (Code.TICKET_EXPIRED, True)


def revoke(user: User, key: str) -> None:
    ApiKey.objects.update(revoked_at=timezone.now())


def deactivate(user: User, key: str) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def delete_account(user: User, key: str) -> None:
    user.delete()


ENDS = pytest.mark.parametrize("end", [revoke, deactivate, delete_account])


@ENDS
@pytest.mark.parametrize("by_ticket", [False, True])
async def test_whose_key_has_ended_is_put_out_and_not_let_in_again(
    user: User, key: str, end: Callable[[User, str], None], by_ticket: bool
) -> None:
    ticket = await in_thread(lambda: holders.ticket_for(holders.of_key(key) or Holder(user)))
    credential = {"ticket": ticket} if by_ticket else {"key": key}
    async with program() as one:
        await one.say(op="auth", **credential)
        await one.hear_type("hello")
        await process.of_this_loop().access.check()
        await one.say(op="subscribe", id=1)
        await one.hear_type("subscribed")
        await in_thread(lambda: end(user, key))
        await process.of_this_loop().access.check()
        assert await refusal(one) == (Code.ACCESS_ENDED, ENDED, False)
    async with program() as again:
        await again.say(op="auth", **credential)
        assert await refusal(again) == NOT_VALID


async def test_a_new_password_ends_what_came_of_a_session_but_not_keys(user: User, key: str) -> None:
    of_session = {"ticket": await in_thread(lambda: holders.ticket_for(Holder(user)))}
    of_key = {"ticket": await in_thread(lambda: holders.ticket_for(Holder(user, key=key.split("_")[1])))}
    async with program() as by_session, program() as by_key:
        for one, credential in ((by_session, of_session), (by_key, of_key)):
            await one.say(op="auth", **credential)
            await one.hear_type("hello")
        await in_thread(lambda: (user.set_password("second"), user.save()))
        await process.of_this_loop().access.check()
        assert await refusal(by_session) == (Code.ACCESS_ENDED, ENDED, False)
        await by_key.say(op="subscribe", id=1)
        await by_key.hear_type("subscribed")
    async with program() as late:
        await late.say(op="auth", **of_session)
        assert await refusal(late) == NOT_VALID
    for credential in ({"key": key}, of_key):
        async with program() as again:
            await again.say(op="auth", **credential)
            await again.hear_type("hello")


async def test_every_wrong_credential_gets_the_same_answer(user: User, key: str) -> None:
    revoked = await in_thread(lambda: api_keys.create(user, "old")[1])
    await in_thread(lambda: ApiKey.objects.filter(name="old").update(revoked_at=timezone.now()))
    forged = signing.dumps([str(user.pk), user.get_session_auth_hash(), "", "", None], salt="another")
    wrong = [
        {"key": revoked},
        {"key": key[:-1] + ("A" if key[-1] != "A" else "B")},
        {"key": "md_000000000000_" + "x" * 43},
        {"key": "x"},
        {"key": key + "\n"},
        {"ticket": forged},
        {"ticket": "é:1:2"},
        {"ticket": ""},
    ]
    for credential in wrong:
        async with program() as one:
            await one.say(op="auth", **credential)
            assert await refusal(one) == NOT_VALID


async def test_an_address_that_fails_too_often_must_wait_and_others_need_not(key: str) -> None:
    for _ in range(attempts.LIMIT):
        async with program() as one:
            await one.say(op="auth", key="wrong")
            assert await refusal(one) == NOT_VALID
    for credential in ("wrong", key):
        async with program() as one:
            await one.say(op="auth", key=credential)
            assert (await refusal(one))[0] == Code.TOO_MANY_FAILURES
    async with program("10.0.0.2") as other:
        await other.say(op="auth", key=key)
        await other.hear_type("hello")


async def test_anything_before_the_credential_ends_the_connection() -> None:
    async with program() as one:
        await one.say_text("nope")
        assert (await refusal(one))[0] == Code.NOT_ALLOWED
    async with program() as one:
        await one.say_bytes(b"\x00")
        assert (await refusal(one))[0] == Code.NOT_ALLOWED
    async with program() as one:
        await one.say(op="pong")
        assert (await refusal(one))[0] == Code.NOT_ALLOWED


async def test_while_accounts_cannot_be_checked_programs_are_told_to_come_back(key: str, settings: Settings) -> None:
    from infrastructure.errors import Unavailable

    def away(text: str) -> None:
        raise Unavailable("MongoDB does not answer.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api_keys, "find", away)
        async with program() as one:
            await one.say(op="auth", key=key)
            assert (await refusal(one))[::2] == (Code.AUTH_UNCHECKED, True)
