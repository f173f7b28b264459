"""Browsers that come back learn which closed bars they missed, or that nobody can tell."""

import asyncio
import json
from typing import Any

import pytest
import redis
from pytest_django.fixtures import Settings

from infrastructure.persistence import keys
from marketdata.live import process
from marketdata.live.connection import CLOSED_BARS
from marketdata.live.protocol import Position
from tests.live.browser import Browser
from tests.live.speaker import MINUTE_MS, Speaker
from tests.persistence.conftest import RedisServer

pytestmark = pytest.mark.usefixtures("live")
TICK, APPLE = "TEST:TICK@1m", "NASDAQ:AAPL@1m"


def minutes(message: dict[str, Any], closed: bool = True) -> list[tuple[str, int]]:
    return [(bar["s"], bar["t"] // MINUTE_MS) for bar in message["bars"] if bar["closed"] is closed]


async def watch(browser: Browser, *bars: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer, and the snapshot that follows."""
    await browser.say(op="subscribe", bars=list(bars), **more)
    return await browser.hear_type("subscribed"), await browser.hear_type("snapshot")


async def until_closed(browser: Browser, minute: int) -> dict[str, Any]:
    """The message in which the bar of that minute is closed."""
    while True:
        message = await browser.hear_type("update")
        if any(bar["closed"] and bar["t"] == minute * MINUTE_MS for bar in message["bars"]):
            return message


async def test_a_position_is_told_by_hello_snapshots_closed_bars_and_pings(
    speaker: Speaker, settings: Settings
) -> None:
    settings.LIVE_HEARTBEAT_S = 1
    async with Browser() as browser:
        start = (await browser.hear_type("hello"))["log"]
        _, snapshot = await watch(browser, TICK)
        assert snapshot["log"] == start
        speaker.bar(TICK, 1, 1.0)
        assert "log" not in await browser.hear_type("update")  # nothing closed: ticks pay nothing
        speaker.bar(TICK, 1, 1.0, closed=True)
        moved = (await until_closed(browser, 1))["log"]
        assert (moved["epoch"], moved["offset"] > start["offset"]) == (start["epoch"], True)
        speaker.bar(APPLE, 1, 1.0, closed=True)  # watched by nobody here
        await browser.until(lambda one: bool(one.pings) and one.pings[-1]["log"]["offset"] > moved["offset"])


async def test_who_comes_back_gets_exactly_the_closed_bars_it_missed_then_the_present(speaker: Speaker) -> None:
    async with Browser() as browser:
        answer, _ = await watch(browser, TICK)
        assert "recovered" not in answer
        speaker.bar(TICK, 1, 1.0, closed=True)
        place = (await until_closed(browser, 1))["log"]
    async with Browser() as witness:
        await watch(witness, TICK)
        for minute in range(2, 30):
            speaker.bar(TICK, minute, float(minute), closed=True)
            speaker.bar(APPLE, minute, float(minute), closed=True)
        speaker.bar(TICK, 30, 30.0)
        await witness.until(lambda one: one.bars.get(TICK, {}).get("t") == 30 * MINUTE_MS)
    async with Browser() as browser:
        answer, snapshot = await watch(browser, TICK, since=place, id=1)
        assert (answer["id"], answer["recovered"]) == (1, True)
        assert minutes(snapshot) == [("TEST:TICK", minute) for minute in range(2, 30)]
        assert snapshot["bars"][-1] == browser.bars[TICK]
        assert (browser.bars[TICK]["t"], browser.bars[TICK]["closed"]) == (30 * MINUTE_MS, False)
        answer, snapshot = await watch(browser, TICK, since=snapshot["log"])
        assert (answer["recovered"], minutes(snapshot)) == (True, [])


async def test_a_reset_resumes_too_and_topics_are_in_the_order_of_the_log(speaker: Speaker) -> None:
    async with Browser() as browser:
        _, snapshot = await watch(browser, TICK, APPLE)
        for minute in range(1, 4):
            speaker.bar(APPLE, minute, 1.0, closed=True)
            speaker.bar(TICK, minute, 1.0, closed=True)
        await browser.until(lambda one: one.bars.get(TICK, {}).get("t") == 3 * MINUTE_MS)
        await browser.say(op="reset", bars=[APPLE, TICK], since=snapshot["log"])
        assert (await browser.hear_type("subscribed"))["recovered"] is True
        again = await browser.hear_type("snapshot")
        assert minutes(again) == [(name, minute) for minute in (1, 2, 3) for name in ("NASDAQ:AAPL", "TEST:TICK")]


async def test_a_position_that_nobody_can_place_is_answered_with_not_recovered(speaker: Speaker) -> None:
    speaker.bar(TICK, 1, 1.0, closed=True)
    async with Browser() as browser:
        log = (await browser.hear_type("hello"))["log"]
        for since in ({**log, "epoch": "other"}, {**log, "offset": "1-0"}, {**log, "offset": "soon"}):
            answer, snapshot = await watch(browser, TICK, since=since)
            assert (answer["recovered"], snapshot["bars"]) == (False, [browser.bars[TICK]])


async def test_more_than_can_be_replayed_is_not_recovered(speaker: Speaker) -> None:
    async with Browser() as browser:
        place = (await browser.hear_type("hello"))["log"]
        for minute in range(CLOSED_BARS // 2 + 1):
            speaker.bar(TICK, minute, 1.0, closed=True)
        _, _ = await watch(browser, TICK)
        await browser.until(lambda one: one.bars.get(TICK, {}).get("t") == CLOSED_BARS // 2 * MINUTE_MS)
        answer, _ = await watch(browser, TICK, since=place)
        assert answer["recovered"] is False


async def test_a_process_that_starts_later_knows_the_log(speaker: Speaker) -> None:
    async with Browser() as browser:
        place = (await browser.hear_type("hello"))["log"]
    await process.close()
    for minute in range(1, 2500):
        speaker.bar(TICK, minute, float(minute), closed=True)
    async with Browser() as browser:
        await browser.hear_type("hello")
        log = process.of_this_loop().hub.log
        known = log.since(Position(**place), [TICK], 10_000)
        assert known is not None
        assert [json.loads(text)["c"] for _, text in known] == [float(minute) for minute in range(1, 2500)]


async def cut(server: RedisServer) -> None:
    """Every connection of this Redis, as a network does."""

    def kill() -> None:
        with redis.Redis.from_url(server.url) as client:
            client.client_kill_filter(_type="pubsub")

    await asyncio.to_thread(kill)


async def test_what_was_said_while_redis_could_not_be_heard_comes_in_order(
    speaker: Speaker, redis_server: RedisServer
) -> None:
    async with Browser() as browser:
        await watch(browser, TICK)
        for minute in range(1, 20):
            if minute % 3 == 0:
                await cut(redis_server)
            speaker.bar(TICK, minute, 1.0, closed=True)
        closed: list[tuple[str, int]] = []
        while closed[-1:] != [("TEST:TICK", 19)]:
            message = await browser.hear()
            assert "recovered" not in message
            closed += minutes(message) if message["type"] in ("update", "snapshot") else []
        assert list(dict.fromkeys(closed)) == [("TEST:TICK", minute) for minute in range(1, 20)]


@pytest.mark.parametrize("how", ["emptied", "restarted", "began anew"])
async def test_a_log_that_was_lost_is_told_as_not_recovered(
    speaker: Speaker, redis_server: RedisServer, how: str
) -> None:
    async with Browser() as browser, Browser(address="10.0.0.2") as quotes_only:
        await quotes_only.say(op="subscribe", quotes=["TEST:TICK"])
        _, snapshot = await watch(browser, TICK)
        if how == "restarted":
            redis_server.kill()
            await asyncio.to_thread(redis_server.start)
        elif how == "emptied":
            with redis.Redis.from_url(redis_server.url) as client:
                client.flushall()
        else:
            with redis.Redis.from_url(redis_server.url) as client:
                client.delete(keys.LOG)
        speaker.bar(TICK, 7, 7.0, closed=True)
        hole = await browser.hear_type("snapshot")
        while "recovered" not in hole:
            hole = await browser.hear_type("snapshot")
        assert hole["recovered"] is False
        assert hole["log"]["epoch"] != snapshot["log"]["epoch"]
        await browser.until(lambda one: one.bars.get(TICK, {}).get("t") == 7 * MINUTE_MS)
        answer, _ = await watch(browser, TICK, since=snapshot["log"])
        assert answer["recovered"] is False
        answer, _ = await watch(browser, TICK, since=hole["log"])
        assert answer["recovered"] is True
        assert all("recovered" not in message for message in quotes_only.messages)


async def test_a_thousand_that_come_back_ask_redis_nothing(speaker: Speaker, redis_server: RedisServer) -> None:
    async with Browser() as browser:
        place = (await browser.hear_type("hello"))["log"]
        _, _ = await watch(browser, TICK)
        speaker.bar(TICK, 1, 1.0, closed=True)
        await until_closed(browser, 1)

        def calls() -> int:
            with redis.Redis.from_url(redis_server.url) as client:
                stats = client.info("commandstats")
            return int(stats.get("cmdstat_xrange", {}).get("calls", 0))

        before = await asyncio.to_thread(calls)
        for _ in range(50):
            answer, snapshot = await watch(browser, TICK, since=place)
            assert (answer["recovered"], minutes(snapshot)) == (True, [("TEST:TICK", 1)])
        assert await asyncio.to_thread(calls) == before
