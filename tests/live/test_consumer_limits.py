"""What is refused: of a request, and of a connection as a whole."""

import asyncio

import pytest
from pytest_django.fixtures import Settings

from marketdata.live import consumers, process
from marketdata.live.errors import Code
from marketdata.live.protocol import MAX_MESSAGE_BYTES
from tests.live.browser import Browser, refusal

pytestmark = pytest.mark.usefixtures("live")


async def test_what_cannot_be_understood_gets_a_numbered_error_and_the_connection_goes_on() -> None:
    async with Browser() as browser:
        await browser.hear_type("hello")
        await browser.say_text("nope")
        await browser.say_text('{"op":"buy"}')
        await browser.say_text('{"op":"subscribe","x":' + "[" * 20_000 + "]" * 20_000 + "}")
        await browser.say_bytes(b"\x00\x01")
        codes = [(await browser.hear_type("error"))["code"] for _ in range(4)]
        assert codes == [Code.NOT_JSON, Code.NOT_UNDERSTOOD, Code.NOT_UNDERSTOOD, Code.BINARY]
        await browser.say(op="subscribe", id=5, quotes=["TEST:TICK"])
        assert (await browser.hear_type("subscribed"))["quotes"] == ["TEST:TICK"]


async def test_who_is_not_logged_in_is_refused_where_anonymous_viewing_is_off(settings: Settings) -> None:
    settings.ANONYMOUS_VIEWING = False
    async with Browser() as browser:
        await browser.say(op="subscribe", quotes=["TEST:TICK"])
        why = "Log in to watch live data, or send a ticket or key first."
        assert await refusal(browser) == (Code.NOT_ALLOWED, why, False)


async def test_who_sends_nothing_to_get_in_with_is_refused_after_a_while(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ANONYMOUS_VIEWING = False
    monkeypatch.setattr(consumers, "AUTH_TIMEOUT_S", 0.2)
    async with Browser() as browser:
        why = "Log in, or send a ticket or key within 0.2 s."
        assert await refusal(browser) == (Code.NOT_ALLOWED, why, False)


async def test_an_address_has_so_many_connections_and_gets_them_back(settings: Settings) -> None:
    settings.LIVE_MAX_CONNECTIONS_PER_ADDRESS = 1
    async with Browser() as first:
        await first.hear_type("hello")
        async with Browser() as second:
            code, reason, reconnect = await refusal(second)
            assert (code, reconnect) == (Code.TOO_MANY_CONNECTIONS, True)
            assert reason == "There are 1 connections from this address already."
        async with Browser(address="10.0.0.2") as other:
            await other.hear_type("hello")
    async with Browser() as third:
        await third.hear_type("hello")
    assert process.of_this_loop().addresses.open == {}


async def test_a_request_that_names_far_too_much_is_refused_whole_with_its_id(settings: Settings) -> None:
    settings.LIVE_MAX_SYMBOLS = 3
    async with Browser() as browser:
        await browser.say(op="subscribe", id="all", quotes=["A:B"] * 4, bars=["A:B@1m"] * 1000)
        refused = await browser.hear_type("error")
        assert refused == {
            "type": "error", "code": Code.TOO_MANY_ITEMS, "message": "One connection may watch 3 items.", "id": "all",
        }  # fmt: skip


async def test_a_message_that_is_too_large_ends_the_connection() -> None:
    async with Browser() as browser:
        await browser.say_text('"' + "é" * (MAX_MESSAGE_BYTES // 2) + '"')
        assert await refusal(browser) == (Code.MESSAGE_TOO_LARGE, "A message may have 65536 bytes.", False)


async def test_who_speaks_too_often_is_closed() -> None:
    async with Browser() as browser:
        for _ in range(150):
            await browser.say(op="pong", n=1)
        assert await refusal(browser) == (Code.TOO_MANY_MESSAGES, "More than 20 messages a second.", False)


async def test_who_does_not_answer_heartbeats_is_closed_and_who_does_stays(settings: Settings) -> None:
    settings.LIVE_HEARTBEAT_S = 0.2
    async with Browser() as dead, Browser(address="10.0.0.2") as alive:
        dead.answers_pings = False
        ended = asyncio.create_task(refusal(dead))
        listening = asyncio.create_task(alive.hear_type("update"))
        assert await ended == (Code.NO_HEARTBEAT, "No heartbeat was answered.", True)
        assert not listening.done()
        listening.cancel()
