"""The log of closed bars in a real Redis: when it is the same log, what is in it once, how long it grows."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from infrastructure.persistence import keys
from infrastructure.persistence.closed_log import LOG_LENGTH, MARKS, LogPage
from infrastructure.persistence.live import AsyncLiveCache, LiveCache
from tests.persistence.conftest import RedisServer

Said = list[tuple[str, str, bytes]]


@pytest.fixture
def live_cache(redis_server: RedisServer) -> LiveCache:
    return LiveCache(redis_server.url)


@pytest.fixture
async def reader(redis_server: RedisServer) -> AsyncIterator[AsyncLiveCache]:
    async with AsyncLiveCache(redis_server.url) as cache:
        yield cache


def say(cache: LiveCache, *closed: tuple[str, str, bytes], log_anew: bool = False) -> None:
    cache.speak(1, b"e|1|", {}, {}, closed=closed, log_anew=log_anew)


def bars(page: LogPage) -> Said:
    return [(entry.topic.decode(), entry.kind.decode(), entry.json) for entry in page.entries if entry.kind != b"e"]


async def test_a_log_begins_with_its_first_reader_and_stays_the_same(
    live_cache: LiveCache, reader: AsyncLiveCache
) -> None:
    begun = await reader.alog()
    assert (bars(begun), begun.first) == ([], begun.entries[0].offset)
    assert begun.epoch.endswith(begun.first)
    say(live_cache, ("A:B@1m", "1:aa", b"one"), ("A:C@1m", "1:aa", b"two"))
    after = await reader.alog(begun.first)
    assert (after.epoch, after.first) == (begun.epoch, begun.first)
    assert bars(after) == [("A:B@1m", "c", b"one"), ("A:C@1m", "c", b"two")]
    assert bars(await reader.alog(after.entries[0].offset)) == [("A:C@1m", "c", b"two")]


async def test_a_bar_is_logged_once_and_its_correction_too(live_cache: LiveCache, reader: AsyncLiveCache) -> None:
    for mark, json in (("-60000:aa", b"1"), ("0:bb", b"2"), ("-60000:aa", b"1"), ("-60000:cc", b"3"), ("0:bb", b"2")):
        say(live_cache, ("A:B@1m", mark, json))
    say(live_cache, ("A:B@1m", "-60000:aa", b"4"))  # corrected back
    assert [json for _, _, json in bars(await reader.alog())] == [b"1", b"2", b"3", b"4"]


async def test_what_is_remembered_of_a_topic_is_bounded_and_longer_than_what_a_feed_repeats(
    redis_server: RedisServer, live_cache: LiveCache, reader: AsyncLiveCache
) -> None:
    said = [("A:B@1m", f"{minute}:aa", b"%d" % minute) for minute in range(3 * MARKS)]
    say(live_cache, *said)
    say(live_cache, *said[-MARKS:])
    assert [json for _, _, json in bars(await reader.alog())] == [json for _, _, json in said]
    with redis.Redis.from_url(redis_server.url) as client:
        kept = client.hget(keys.LOG_MARKS, "A:B@1m")
        assert kept.split() == [mark.encode() for _, mark, _ in said[-MARKS:]]


async def test_the_log_is_bounded(redis_server: RedisServer, live_cache: LiveCache, reader: AsyncLiveCache) -> None:
    begun = await reader.alog()
    for start in range(0, LOG_LENGTH + 2000, 1000):
        say(live_cache, *(("A:B@1m", f"{start + n}:aa", b"x") for n in range(1000)))
    with redis.Redis.from_url(redis_server.url) as client:
        assert LOG_LENGTH <= client.xlen(keys.LOG) < LOG_LENGTH + 1000
    page = await reader.alog(begun.first)
    assert page.epoch == begun.epoch
    assert page.first != begun.first  # so a reader can tell that something is missing


@pytest.mark.parametrize("emptied", [lambda client: client.flushall(), lambda client: client.delete(keys.LOG)])
async def test_another_epoch_after_redis_was_emptied(
    redis_server: RedisServer, live_cache: LiveCache, reader: AsyncLiveCache, emptied: object
) -> None:
    say(live_cache, ("A:B@1m", "1:aa", b"1"))
    before = await reader.alog()
    with redis.Redis.from_url(redis_server.url) as client:
        emptied(client)  # type: ignore[operator]
    say(live_cache, ("A:B@1m", "1:aa", b"1"))
    after = await reader.alog()
    assert after.epoch != before.epoch
    assert bars(after) == [("A:B@1m", "c", b"1")]


async def test_another_epoch_after_a_restart_even_if_the_data_came_back(
    redis_server: RedisServer, live_cache: LiveCache, reader: AsyncLiveCache
) -> None:
    say(live_cache, ("A:B@1m", "1:aa", b"1"))
    before = await reader.alog()
    with redis.Redis.from_url(redis_server.url) as client:
        client.save()
    say(live_cache, ("A:B@1m", "2:aa", b"lost"))
    redis_server.kill()
    await asyncio.to_thread(redis_server.start)
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.get(keys.LOG_EPOCH) == before.epoch.encode()
    after = await reader.alog()
    assert (after.epoch != before.epoch, bars(after)) == (True, [])


async def test_another_epoch_where_the_feed_says_that_bars_were_lost(
    live_cache: LiveCache, reader: AsyncLiveCache
) -> None:
    say(live_cache, ("A:B@1m", "1:aa", b"1"))
    before = await reader.alog()
    say(live_cache, ("A:B@1m", "2:aa", b"2"), log_anew=True)
    after = await reader.alog()
    assert (after.epoch != before.epoch, bars(after)) == (True, [("A:B@1m", "c", b"2")])
