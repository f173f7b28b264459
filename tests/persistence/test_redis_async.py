import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from infrastructure.backoff import Backoff
from infrastructure.errors import Unavailable
from infrastructure.persistence import AsyncCache, Cache, LiveSubscription, keys
from tests.persistence.conftest import RedisServer

FAST = Backoff(first_s=0.01, factor=1, ceiling_s=0.01, jitter=0)
HANG_S = 30


def subscription(server: RedisServer, **options: object) -> AsyncIterator[bytes | None]:
    return aiter(LiveSubscription(server.url, keys.LIVE, backoff=FAST, **options))  # type: ignore[arg-type]


def pings(cache: Cache) -> int:
    return int(cache._client.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"])


async def following(messages: AsyncIterator[bytes | None]) -> bytes | None:
    return await asyncio.wait_for(anext(messages), HANG_S)


async def test_a_subscription_begins_with_none_and_gives_payloads_in_order(
    redis_server: RedisServer, cache: Cache
) -> None:
    async with aclosing(subscription(redis_server)) as messages:
        received = [await following(messages)]
        for n in range(3):
            cache.publish(keys.LIVE, b"%d\x00" % n)
        received += [await following(messages) for _ in range(3)]
    assert received == [None, b"0\x00", b"1\x00", b"2\x00"]


async def test_a_killed_and_restarted_server_shows_as_one_more_none(redis_server: RedisServer, cache: Cache) -> None:
    async with aclosing(subscription(redis_server)) as messages:
        assert await following(messages) is None
        redis_server.kill()
        redis_server.start()
        assert await following(messages) is None
        cache.publish(keys.LIVE, b"after")
        assert await following(messages) == b"after"


async def test_a_subscription_may_begin_before_the_server_does(redis_server: RedisServer) -> None:
    redis_server.kill()
    async with aclosing(subscription(redis_server)) as messages:
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        redis_server.start()
        assert await asyncio.wait_for(first, HANG_S) is None


async def test_a_quiet_connection_is_kept_and_a_dead_one_replaced(redis_server: RedisServer, cache: Cache) -> None:
    async with aclosing(subscription(redis_server, idle_s=0.05)) as messages:
        assert await following(messages) is None
        quiet = asyncio.ensure_future(anext(messages))
        while pings(cache) < 3:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.01)
        cache.publish(keys.LIVE, b"still there")
        assert await asyncio.wait_for(quiet, HANG_S) == b"still there"
        cache._client.client_pause(500)  # the server accepts but answers nobody
        assert await following(messages) is None


async def test_a_reader_cut_off_for_being_slow_starts_again(redis_server: RedisServer, cache: Cache) -> None:
    cache._client.config_set("client-output-buffer-limit", "pubsub 1mb 1mb 1")
    async with aclosing(subscription(redis_server)) as messages:
        assert await following(messages) is None
        block = b"x" * 1_000_000
        while cache.publish(keys.LIVE, block):  # until Redis has cut the connection
            pass
        seen = 0
        while (message := await following(messages)) is not None:
            assert message == block
            seen += 1
        cache.publish(keys.LIVE, b"fresh")
        assert await following(messages) == b"fresh"
        assert seen < 100


async def test_a_lost_server_is_tried_again_and_again(redis_server: RedisServer) -> None:
    redis_server.kill()
    drawn: list[float] = []
    enough = asyncio.Event()

    def random() -> float:
        drawn.append(0.5)
        if len(drawn) == 4:
            enough.set()
        return 0.5

    lost = LiveSubscription(redis_server.url, "channel", backoff=FAST, random=random)
    waiting = asyncio.ensure_future(anext(aiter(lost)))
    await asyncio.wait_for(enough.wait(), HANG_S)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_asynchronous_side_reads_and_writes_what_the_other_does(
    redis_server: RedisServer, cache: Cache
) -> None:
    cache.put_quotes({"A:A": b"1", "B:B": b"2"})
    cache.set_json(keys.FEED, {"state": "live"}, ttl_s=60)
    async with AsyncCache(redis_server.url) as web:
        await web.aadd_interest(["A:A@1m"], ttl_s=60)
        assert await web.aquotes() == {"A:A": b"1", "B:B": b"2"}
        assert await web.aquotes(["B:B", "N:N"]) == {"B:B": b"2"}
        assert await web.aquotes([]) == {}
        assert await web.aget_json(keys.FEED) == {"state": "live"}
        assert await web.aget_json("nothing") is None
    assert cache.interest() == {"A:A@1m"}


async def test_more_calls_than_connections_wait_for_their_turn(redis_server: RedisServer, cache: Cache) -> None:
    cache.put_quotes({"A:A": b"1"})
    async with AsyncCache(redis_server.url, connections=2) as web:
        answers = await asyncio.gather(*(web.aquotes() for _ in range(50)))
    assert answers == [{"A:A": b"1"}] * 50


async def test_the_asynchronous_side_recovers_from_a_killed_server(redis_server: RedisServer) -> None:
    async with AsyncCache(redis_server.url) as web:
        assert await web.aquotes() == {}
        redis_server.kill()
        with pytest.raises(Unavailable):
            await web.aquotes()
        redis_server.start()
        assert await web.aquotes() == {}


def test_one_object_serves_several_event_loops(redis_server: RedisServer, cache: Cache) -> None:
    cache.put_quotes({"A:A": b"1"})
    web = AsyncCache(redis_server.url)
    live = LiveSubscription(redis_server.url, keys.LIVE)

    async def both() -> tuple[bytes | None, dict[str, bytes]]:
        async with web, aclosing(aiter(live)) as messages:  # type: ignore[type-var]
            return await following(messages), await web.aquotes()

    run: Callable[[], object] = lambda: asyncio.run(both())  # noqa: E731
    assert [run(), run()] == [(None, {"A:A": b"1"})] * 2
