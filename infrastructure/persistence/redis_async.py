"""The asynchronous side of the Cache, for the web process: a live subscription that outlives the server, and the few
reads and writes a consumer needs. Nothing here is bound to an event loop before it is used in it."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Self
from weakref import WeakKeyDictionary

import redis.asyncio
from django.conf import settings
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from infrastructure.backoff import Backoff
from infrastructure.persistence import keys
from infrastructure.persistence.redis import (
    ADD_INTEREST,
    DRIVER_ERRORS,
    connection_options,
    decoded,
    interest_batches,
    present,
    redis_errors,
)

logger = logging.getLogger(__name__)

RECONNECT = Backoff(first_s=0.1, factor=2, ceiling_s=5, jitter=0.2)


class AsyncCache:
    """One small pool per event loop, opened at the first call in it; `aclose` (or `async with`) closes that of the
    present loop. At most `connections` commands at a time, the next waits for up to `timeout_s`."""

    def __init__(self, url: str, timeout_s: float = 5.0, connections: int = 20) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._connections = connections
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()

    @classmethod
    def from_settings(cls) -> Self:
        return cls(f"{settings.REDIS_URL}/{settings.REDIS_DB}", settings.REDIS_TIMEOUT_S)

    @property
    def _client(self) -> Any:  # redis.asyncio.Redis
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                self._url,
                max_connections=self._connections,
                timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 1),
                **connection_options(self._timeout_s),
            )
            self._clients[loop] = redis.asyncio.Redis.from_pool(pool)
        return self._clients[loop]

    async def aget_json(self, key: str) -> Any:
        with redis_errors():
            return decoded(await self._client.get(key), key)

    async def aquotes(self, symbols: Sequence[str] | None = None) -> dict[str, bytes]:
        with redis_errors():
            if symbols is None:
                return {name.decode(): value for name, value in (await self._client.hgetall(keys.QUOTES)).items()}
            return present(symbols, await self._client.hmget(keys.QUOTES, list(symbols)) if symbols else ())

    async def aadd_interest(self, items: Iterable[str], ttl_s: float) -> None:
        with redis_errors():
            for arguments in interest_batches(items, ttl_s):
                await self._client.eval(ADD_INTEREST, 1, keys.INTEREST, *arguments)

    async def aclose(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class LiveSubscription:
    """`async for message in subscription`: None whenever a subscription begins (what was published before is lost, so
    take a snapshot), then each payload in order. It never ends by itself: a lost server is tried again for ever.

    Nothing queues in this process but one socket buffer; a reader that falls behind is cut off by Redis
    (`client-output-buffer-limit pubsub`), which shows as another None. A connection that neither speaks nor answers a
    ping for `idle_s` is replaced: at most 2 * idle_s pass before a silent loss is noticed.
    """

    def __init__(
        self,
        url: str,
        channel: str,
        *,
        timeout_s: float = 5.0,
        idle_s: float = 5.0,
        backoff: Backoff = RECONNECT,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._url = url
        self._channel = channel
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._backoff = backoff
        self._random = random

    @classmethod
    def from_settings(cls, channel: str = keys.LIVE) -> Self:
        return cls(f"{settings.REDIS_URL}/{settings.REDIS_DB}", channel, timeout_s=settings.REDIS_TIMEOUT_S)

    async def __aiter__(self) -> AsyncIterator[bytes | None]:
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            lasted_since = clock()
            try:
                async with aclosing(self._one_connection()) as messages:
                    async for message in messages:
                        yield message
            except (*DRIVER_ERRORS, OSError) as error:
                # Supervised: whatever ended this connection, a refused password too, a later one may work.
                if clock() - lasted_since > self._backoff.ceiling_s:
                    failures = 0
                logger.warning("subscription to %s lost, connecting again: %s", self._channel, error)
            await asyncio.sleep(self._backoff.delay_s(failures, self._random))
            failures += 1

    async def _one_connection(self) -> AsyncGenerator[bytes | None]:
        # No retry inside the driver: it would subscribe again silently, and nobody would know of the gap.
        client = redis.asyncio.Redis.from_url(
            self._url, retry=Retry(NoBackoff(), 0), **connection_options(self._timeout_s)
        )
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            pinged = False
            while True:
                message = await pubsub.get_message(timeout=self._idle_s)
                if message is None:
                    await self._ping(pubsub, pinged)
                    pinged = True
                    continue
                pinged = False
                if message["type"] == "subscribe":
                    yield None
                elif message["type"] == "message":
                    yield message["data"]

    async def _ping(self, pubsub: PubSub, already: bool) -> None:
        if already:
            raise redis.ConnectionError(f"silent for {2 * self._idle_s:g} s")
        await pubsub.ping()
