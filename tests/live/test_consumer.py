"""The browser protocol, message by message, over a real Redis that the test speaks on as the feed does."""

import asyncio

import pytest
from pytest_django.fixtures import Settings

from infrastructure.persistence import Database, QuoteStore
from infrastructure.tradingview.base import Quote
from marketdata.live import process
from marketdata.live.errors import Code
from tests.live.browser import Browser, eventually, refusal
from tests.live.speaker import MINUTE_MS, Speaker
from tests.persistence.conftest import RedisServer

pytestmark = pytest.mark.usefixtures("live")


async def test_hello_says_what_a_client_must_know(speaker: Speaker) -> None:
    speaker.fence = 7
    speaker.state("live")
    async with Browser() as browser:
        hello = await browser.hear()
        assert isinstance(hello.pop("server_ms"), int)
        assert set(hello.pop("log")) == {"epoch", "offset"}
        assert hello == {
            "type": "hello",
            "protocol": 1,
            "epoch": "7",
            "heartbeat_s": 25.0,
            "flush_ms": 20,
            "simulated": True,
            "limits": {
                "symbols": 2000,
                "message_bytes": 65536,
                "messages_per_s": 20.0,
                "connections_per_address": 50,
                "connections_per_account": 50,
            },
            "feed": {
                "state": "live",
                "reason": "",
                "since_ms": 1,
                "at_ms": 0,
                "source": "simulator",
                "simulated": True,
                "fence": 7,
                "symbols": 3,
                "waiting_bars": 0,
            },
        }


async def test_a_subscription_is_answered_then_comes_a_snapshot_then_updates(speaker: Speaker) -> None:
    speaker.quotes({"NASDAQ:AAPL": 1.0, "BINANCE:BTCUSDT": 2.0, "TEST:TICK": 3.0})
    speaker.bar("NASDAQ:AAPL@1m", 10, 5.0)
    async with Browser() as browser:
        await browser.hear_type("hello")
        await browser.say(op="subscribe", id=1, quotes=["TEST:TICK", "NASDAQ:AAPL"], bars=["NASDAQ:AAPL@1m"])
        assert await browser.hear() == {
            "type": "subscribed",
            "id": 1,
            "quotes": ["NASDAQ:AAPL", "TEST:TICK"],
            "bars": ["NASDAQ:AAPL@1m"],
            "refused": [],
        }
        snapshot = await browser.hear()
        assert snapshot["type"] == "snapshot"
        assert browser.last() == {"NASDAQ:AAPL": 1.0, "TEST:TICK": 3.0}
        assert snapshot["bars"] == [
            {"s": "NASDAQ:AAPL", "i": "1m", "seq": 4, "t": 10 * MINUTE_MS, "o": 1.0, "h": 5.0, "l": 1.0, "c": 5.0,
             "v": 5.0, "closed": False, "close_ms": 11 * MINUTE_MS},
        ]  # fmt: skip
        speaker.quote("BINANCE:BTCUSDT", 20.0)
        speaker.quote("TEST:TICK", 30.0)
        update = await browser.hear()
        assert update["type"] == "update"
        assert [(quote["s"], quote["last"], quote["seq"]) for quote in update["quotes"]] == [("TEST:TICK", 30.0, 6)]


async def test_closed_bars_arrive_all_and_in_order(speaker: Speaker) -> None:
    async with Browser() as browser:
        await browser.say(op="subscribe", bars=["TEST:TICK@1m"])
        await browser.hear_type("snapshot")
        for minute in range(1, 41):
            speaker.bar("TEST:TICK@1m", minute, float(minute))
            speaker.bar("TEST:TICK@1m", minute, float(minute), closed=True)
        closed: list[int] = []
        while closed[-1:] != [40]:
            closed += [bar["t"] // MINUTE_MS for bar in (await browser.hear())["bars"] if bar["closed"]]
        assert closed == list(range(1, 41))


async def test_unsubscribing_and_reset_are_idempotent_and_answered_with_the_full_set(speaker: Speaker) -> None:
    async with Browser() as browser:
        await browser.say(op="subscribe", id="a", quotes=["TEST:TICK", "NASDAQ:AAPL"], bars=["TEST:TICK@1m"])
        await browser.say(op="subscribe", id="b", quotes=["TEST:TICK"])
        await browser.say(op="unsubscribe", id="c", quotes=["TEST:TICK", "TEST:TICK", "NO:ONE"])
        await browser.say(op="unsubscribe", id="d", quotes=["TEST:TICK"])
        await browser.say(op="reset", id="e", quotes=["BINANCE:BTCUSDT"])
        await browser.say(op="reset", id="f")
        answers = [await browser.hear_type("subscribed") for _ in range(6)]
        assert [(answer["id"], answer["quotes"], answer["bars"], answer["refused"]) for answer in answers] == [
            ("a", ["NASDAQ:AAPL", "TEST:TICK"], ["TEST:TICK@1m"], []),
            ("b", ["NASDAQ:AAPL", "TEST:TICK"], ["TEST:TICK@1m"], []),
            ("c", ["NASDAQ:AAPL"], ["TEST:TICK@1m"], []),
            ("d", ["NASDAQ:AAPL"], ["TEST:TICK@1m"], []),
            ("e", ["BINANCE:BTCUSDT"], [], []),
            ("f", [], [], []),
        ]
        assert process.of_this_loop().hub._interest.items() == []


async def test_each_refused_item_has_a_number_and_a_reason(settings: Settings) -> None:
    settings.LIVE_MAX_SYMBOLS = 2
    async with Browser() as browser:
        await browser.say(
            op="subscribe",
            quotes=["TEST:TICK", "NO:ONE", "NASDAQ:AAPL", "BINANCE:BTCUSDT", "X" * 500],
            bars=["TEST:TICK@7m", "TEST:TICK", "NO:ONE@1m", "TEST:TICK@1m"],
        )
        answer = await browser.hear_type("subscribed")
        assert (answer["quotes"], answer["bars"]) == (["NASDAQ:AAPL", "TEST:TICK"], [])
        assert [(one["item"], one["code"]) for one in answer["refused"]] == [
            ("NO:ONE", Code.UNKNOWN_SYMBOL),
            ("BINANCE:BTCUSDT", Code.TOO_MANY_ITEMS),
            ("X" * 80, Code.UNKNOWN_SYMBOL),
            ("TEST:TICK@7m", Code.UNKNOWN_INTERVAL),
            ("TEST:TICK", Code.UNKNOWN_INTERVAL),
            ("NO:ONE@1m", Code.UNKNOWN_SYMBOL),
            ("TEST:TICK@1m", Code.TOO_MANY_ITEMS),
        ]
        assert {one["reason"] for one in answer["refused"] if one["code"] == Code.TOO_MANY_ITEMS} == {
            "One connection may watch 2 items."
        }


async def test_the_state_of_the_feed_is_told_when_it_changes_and_when_it_falls_silent(speaker: Speaker) -> None:
    speaker.state("live")
    async with Browser() as browser:
        assert (await browser.hear_type("hello"))["feed"]["state"] == "live"
        speaker.state("live")  # the same again: not told
        speaker.state("stopped", "The operator switched it off.")
        told = await browser.hear_type("status")
        assert (told["feed"]["state"], told["feed"]["reason"]) == ("stopped", "The operator switched it off.")
        told = await browser.hear_type("status")
        assert (told["feed"]["state"], told["feed"]["reason"]) == (
            "absent",
            "Nothing has been heard from the feed for 5 s.",
        )
        speaker.state("live")
        assert (await browser.hear_type("status"))["feed"]["state"] == "live"


async def test_a_new_leader_brings_a_status_and_a_fresh_snapshot(speaker: Speaker) -> None:
    speaker.quote("TEST:TICK", 1.0)
    async with Browser() as browser:
        await browser.say(op="subscribe", quotes=["TEST:TICK"])
        await browser.hear_type("snapshot")
        speaker.quote("TEST:TICK", 1.5)
        await browser.hear_type("update")
        speaker.fence = 2
        speaker.state("live")
        assert (await browser.hear_type("status"))["epoch"] == "2"
        assert [quote["last"] for quote in (await browser.hear_type("snapshot"))["quotes"]] == [1.5]
        Speaker(speaker.cache, fence=1).quote("TEST:TICK", 99.0)  # the old leader has woken up
        speaker.quote("TEST:TICK", 2.0)
        assert [quote["last"] for quote in (await browser.hear_type("update"))["quotes"]] == [2.0]


async def test_what_the_database_knows_is_shown_with_its_age_where_redis_holds_nothing(database: Database) -> None:
    await asyncio.to_thread(QuoteStore(database).save, [(Quote("TEST:TICK", last=4.5), 1_700_000_000_000)])
    async with Browser() as browser:
        await browser.say(op="subscribe", quotes=["TEST:TICK", "NASDAQ:AAPL"])
        await browser.hear_type("snapshot")
        assert [(quote["last"], quote["ms"], quote["seq"]) for quote in browser.quotes.values()] == [
            (4.5, 1_700_000_000_000, 0)
        ]


async def test_a_symbol_added_later_can_be_watched_soon(database: Database) -> None:
    async with Browser() as browser:
        await browser.say(op="subscribe", quotes=["NYSE:KO"])
        assert [one["code"] for one in (await browser.hear_type("subscribed"))["refused"]] == [Code.UNKNOWN_SYMBOL]
        await asyncio.to_thread(lambda: database.collection("symbol").insert_one({"_id": "NYSE:KO"}))
        granted: list[str] = []
        while granted != ["NYSE:KO"]:  # known symbols are remembered for two seconds
            await asyncio.sleep(0.25)
            await browser.say(op="subscribe", quotes=["NYSE:KO"])
            granted = (await browser.hear_type("subscribed"))["quotes"]


async def test_interest_reaches_redis_at_once(speaker: Speaker) -> None:
    async with Browser() as browser:
        await browser.say(op="subscribe", quotes=["TEST:TICK"], bars=["NASDAQ:AAPL@5m"])
        await browser.hear_type("subscribed")
        await eventually(lambda: speaker.cache.interest() == {"TEST:TICK", "NASDAQ:AAPL@5m"})


async def test_a_restart_of_redis_is_followed_by_a_snapshot_and_live_values(
    speaker: Speaker, redis_server: RedisServer
) -> None:
    speaker.quotes({"TEST:TICK": 1.0, "NASDAQ:AAPL": 5.0})
    async with Browser() as browser:
        await browser.say(op="subscribe", quotes=["TEST:TICK", "NASDAQ:AAPL"])
        await browser.hear_type("snapshot")
        redis_server.kill()
        await asyncio.to_thread(redis_server.start)
        speaker.quote("TEST:TICK", 2.0)
        await browser.hear_type("snapshot")
        await browser.until(lambda one: one.last() == {"TEST:TICK": 2.0, "NASDAQ:AAPL": 5.0})
        speaker.quote("NASDAQ:AAPL", 6.0)
        await browser.until(lambda one: one.last() == {"TEST:TICK": 2.0, "NASDAQ:AAPL": 6.0})


async def test_the_server_says_goodbye_before_it_restarts() -> None:
    async with Browser() as browser:
        await browser.hear_type("hello")
        await process.close()
        assert await refusal(browser) == (Code.RESTARTING, "The server is restarting.", True)


async def test_a_hundred_browsers_get_exactly_what_they_watch(speaker: Speaker) -> None:
    symbols = ["NASDAQ:AAPL", "BINANCE:BTCUSDT", "TEST:TICK"]
    browsers = [Browser(address=f"10.0.1.{n}") for n in range(100)]
    for n, browser in enumerate(browsers):
        await browser.__aenter__()
        await browser.say(op="subscribe", quotes=[symbols[n % 3]])
        await browser.hear_type("snapshot")
    for step in range(1, 201):
        for symbol in symbols:
            speaker.quote(symbol, float(step))
    for n, browser in enumerate(browsers):
        await browser.until(lambda one, mine=symbols[n % 3]: one.last() == {mine: 200.0})
    for browser in browsers:
        await browser.__aexit__(None, None, None)
    assert len(process.of_this_loop().hub._connections) == 0
