"""The publisher against a real Redis: one step for hash and channel, and everything again after a loss."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from infrastructure.persistence import keys
from infrastructure.persistence.live import AsyncLiveCache, Heard, LiveCache
from infrastructure.tradingview.base import Quote, QuoteUpdate
from marketdata.live import blocks
from marketdata.live.board import CLOSED_LINES
from marketdata.live.publisher import Publisher
from marketdata.services.feed_report import Feed
from tests.live.source import bar_update
from tests.persistence.conftest import RedisServer

STORED = {"A:OLD": (Quote("A:OLD", last=9.0), 1)}


class Desk:
    """A running publisher, the state it reports, and a listener on the channel."""

    def __init__(self, server: RedisServer, fence: int = 5) -> None:
        self.state = Feed("live", fence=fence)
        self.allowed = threading.Event()
        self.allowed.set()
        self.redis = redis.Redis.from_url(server.url)
        self.cache = LiveCache(server.url)
        self.publisher = Publisher(self.cache, fence, lambda: self.state, self.allowed.is_set, STORED)
        self._listener = self.redis.pubsub(ignore_subscribe_messages=True)
        self._listener.subscribe(keys.LIVE)
        assert self._listener.get_message(timeout=20) is None  # the subscription stands
        self.heard: list[tuple[str, str, Any]] = []
        self.fences: set[int] = set()
        self.epochs: list[str] = []

    def until(self, holds: Callable[["Desk"], bool]) -> None:
        """Listens until it holds; a hang ends with the test's deadline."""
        while not holds(self):
            message = self._listener.get_message(timeout=20)
            if message is not None:
                for kind, topic, text in blocks.unpack(message["data"]):
                    if kind == blocks.EPOCH:
                        self.fences.add(int(topic))
                    elif kind == blocks.LOG:
                        self.epochs.append(topic.decode())
                    else:
                        text = text.partition(b" ")[2] if kind == blocks.CLOSED else text
                        self.heard.append((kind.decode(), topic.decode(), json.loads(text or b"null")))

    def has(self, kind: str, topic: str, **fields: Any) -> bool:
        return any((kind, topic) == line[:2] and fields.items() <= (line[2] or {}).items() for line in self.heard)

    def hash(self, key: str, field: str) -> dict[str, float]:
        return {name.decode(): json.loads(value)[field] for name, value in self.redis.hgetall(key).items()}

    def close(self) -> None:
        self.publisher.close(10)
        self._listener.close()
        self.redis.close()


@pytest.fixture
def desk(redis_server: RedisServer) -> Iterator[Desk]:
    with closing(Desk(redis_server)) as desk:
        desk.publisher.start()
        yield desk


def quote(symbol: str, last: float) -> QuoteUpdate:
    return QuoteUpdate(symbol, {"last": last}, 1)


def test_values_are_in_the_hash_and_on_the_channel_under_the_fencing_number(desk: Desk) -> None:
    desk.publisher.quote(quote("A:B", 1.0))
    desk.publisher.bar(bar_update("A:B", "1m", 1, 2.0, closed=False))
    desk.publisher.bar(bar_update("A:B", "5m", 5, 3.0, closed=True))
    desk.until(lambda one: one.has("q", "A:B", last=1.0) and one.has("c", "A:B@5m") and one.has("f", "A:B@1m"))
    assert desk.has("q", "A:OLD", last=9.0, seq=1)
    assert desk.hash(keys.QUOTES, "last") == {"A:OLD": 9.0, "A:B": 1.0}
    assert desk.hash(keys.BARS, "c") == {"A:B@1m": 2.0, "A:B@5m": 3.0}
    assert desk.fences == {5}


def test_a_closed_bar_is_logged_and_said_once_however_often_the_feed_gives_it(desk: Desk) -> None:
    for close in (3.0, 3.0, 4.0, 4.0):
        desk.publisher.bar(bar_update("A:B", "5m", 5, close, closed=True))
    desk.publisher.lead_on(8)
    desk.publisher.bar(bar_update("A:B", "5m", 5, 4.0, closed=True))
    desk.publisher.bar(bar_update("A:B", "5m", 10, 5.0, closed=True))
    desk.until(lambda one: one.has("c", "A:B@5m", c=5.0))
    said = [line[2] for line in desk.heard if line[0] == "c"]
    assert [(bar["t"], bar["c"]) for bar in said] == [(300_000, 3.0), (300_000, 4.0), (600_000, 5.0)]
    entries = [entry for _, entry in desk.redis.xrange(keys.LOG) if entry[b"k"] == b"c"]
    assert [json.loads(entry[b"j"]) for entry in entries] == said
    assert {entry[b"t"] for entry in entries} == {b"A:B@5m"}


def test_closed_bars_that_had_to_be_dropped_begin_another_log(redis_server: RedisServer) -> None:
    with closing(Desk(redis_server)) as desk:
        desk.allowed.clear()
        desk.publisher.start()
        for minute in range(CLOSED_LINES + 1):
            desk.publisher.bar(bar_update("A:B", "1m", minute, 1.0, closed=True))
        before = asyncio.run(AsyncLiveCache(redis_server.url).alog()).epoch
        desk.allowed.set()
        desk.until(lambda one: one.has("c", "A:B@1m", t=CLOSED_LINES * 60_000))
        assert len(set(desk.epochs)) == 1
        assert before not in desk.epochs


def test_the_state_is_reported_when_it_changes_and_again_and_again_with_an_end(desk: Desk) -> None:
    desk.until(lambda one: one.has("s", "", state="live"))
    desk.state = Feed("stale", "Silent.", fence=5)
    desk.publisher.tell()
    desk.until(lambda one: one.has("s", "", state="stale", reason="Silent."))
    assert desk.cache.get_json(keys.FEED)["state"] == "stale"
    assert 0 < desk.redis.pttl(keys.FEED) <= 5000
    reports = len(desk.heard)
    desk.until(lambda one: len(one.heard) > reports + 1)  # without any news


def test_after_flushall_everything_is_there_again(desk: Desk) -> None:
    desk.publisher.quote(quote("A:B", 1.0))
    desk.publisher.bar(bar_update("A:B", "1m", 1, 2.0, closed=False))
    desk.until(lambda one: one.has("q", "A:B") and one.has("f", "A:B@1m"))
    desk.redis.flushall()
    desk.heard.clear()
    desk.until(lambda one: one.has("q", "A:B", last=1.0) and one.has("f", "A:B@1m") and one.has("q", "A:OLD"))
    assert desk.hash(keys.QUOTES, "last") == {"A:OLD": 9.0, "A:B": 1.0}
    assert desk.hash(keys.BARS, "c") == {"A:B@1m": 2.0}


def test_while_redis_is_away_values_are_merged_and_then_said(redis_server: RedisServer) -> None:
    with closing(Desk(redis_server)) as desk:
        desk.publisher.start()
        desk.until(lambda one: one.has("q", "A:OLD"))
        redis_server.kill()
        desk.publisher.bar(bar_update("A:B", "1m", 1, 1.0, closed=True))
        for last in range(1, 200):
            desk.publisher.quote(quote("A:B", float(last)))
        redis_server.start()
        while desk.redis.pttl(keys.FEED) < 0:  # the first report after the loss comes with everything
            time.sleep(0.01)
        assert desk.hash(keys.QUOTES, "last") == {"A:OLD": 9.0, "A:B": 199.0}
        assert desk.hash(keys.BARS, "c") == {"A:B@1m": 1.0}


def test_a_leader_that_was_replaced_writes_and_publishes_nothing(desk: Desk) -> None:
    desk.publisher.quote(quote("A:B", 1.0))
    desk.until(lambda one: one.has("q", "A:B"))
    assert desk.cache.speak(6, blocks.pack(6, []), {"A:B": b'{"last":6}'}, {}) is Heard.WRITTEN
    desk.publisher.quote(quote("A:B", 2.0))
    assert desk.publisher.replaced.wait(20)
    assert desk.hash(keys.QUOTES, "last") == {"A:OLD": 9.0, "A:B": 6}


def test_who_may_not_speak_is_silent_until_it_may(desk: Desk) -> None:
    desk.publisher.quote(quote("A:B", 1.0))
    desk.until(lambda one: one.has("q", "A:B"))
    desk.allowed.clear()
    desk.publisher.quote(quote("A:B", 2.0))
    assert desk._listener.get_message(timeout=1.5) is None
    desk.allowed.set()
    desk.until(lambda one: one.has("q", "A:B", last=2.0))


def test_a_new_term_says_everything_under_the_new_number(desk: Desk) -> None:
    desk.publisher.quote(quote("A:B", 1.0))
    desk.until(lambda one: one.has("q", "A:B"))
    desk.heard.clear()
    desk.publisher.lead_on(8)
    desk.until(lambda one: one.has("q", "A:B") and one.has("q", "A:OLD"))
    assert desk.fences == {5, 8}


def test_closing_says_what_is_left_and_the_last_state(redis_server: RedisServer) -> None:
    desk = Desk(redis_server)
    desk.publisher.start()
    desk.until(lambda one: one.has("q", "A:OLD"))
    desk.publisher.quote(quote("A:B", 1.0))
    desk.state = Feed("absent", "The feed was stopped.", fence=5)
    desk.close()
    assert desk.hash(keys.QUOTES, "last") == {"A:OLD": 9.0, "A:B": 1.0}
    assert desk.cache.get_json(keys.FEED)["state"] == "absent"


def test_bars_no_longer_streamed_leave_redis(desk: Desk) -> None:
    desk.publisher.bar(bar_update("A:B", "1m", 1, 2.0, closed=False))
    desk.until(lambda one: one.has("f", "A:B@1m"))
    desk.publisher.follow_bars([], ["A:B@1m"])
    desk.until(lambda one: one.has("g", "A:B@1m"))
    assert desk.hash(keys.BARS, "c") == {}
