"""Cache: what is fast, shared and may be lost at any moment, in Redis. Used by services, the feed and commands; the
web process has its asynchronous side in `redis_async`. One pool per process and database, shared with Django's cache
where both use one logical database (`ConnectionFactory` is its factory too).

Driver errors become Unavailable, Rejected or Malformed in `redis_errors`, and nowhere else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

import msgspec
from django.conf import settings
from django_redis import pool
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable
from infrastructure.forks import before_fork
from infrastructure.persistence import keys

DRIVER_ERRORS = (
    exceptions.RedisError,
    exceptions.RedisClusterException,
    exceptions.ChildDeadlockedError,
    exceptions.IncorrectPolicyType,
)
_REJECTED = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.ExternalAuthProviderError)
_UNAVAILABLE = (
    exceptions.ConnectionError,  # after _REJECTED, which are kinds of it
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.ChildDeadlockedError,
)

# The server's clock decides: several machines add interest, and another one reads it.
ADD_INTEREST = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'GT', now + ARGV[1], ARGV[i]) end
"""
READ_INTEREST = """
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
return redis.call('ZRANGE', KEYS[1], 0, -1)
"""
INTEREST_BATCH = 1000  # items a script call: Lua must not hold the server for long


@contextmanager
def redis_errors() -> Iterator[None]:
    """Around any use of the driver (also a decorator)."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translated(error) from error


def translated(error: Exception) -> InfrastructureError:
    if isinstance(error, _UNAVAILABLE) and not isinstance(error, _REJECTED):
        return Unavailable(f"Redis does not answer: {error}")
    if isinstance(error, exceptions.InvalidResponse):
        return Malformed("Redis sent what cannot be read.", str(error))
    return Rejected(f"Redis refused: {error}")


def connection_options(timeout_s: float) -> dict[str, Any]:
    """Of every connection. RESP2, because the oldest supported server speaks it fully and no feature of 3 is used."""
    return {"socket_connect_timeout": timeout_s, "socket_timeout": timeout_s, "protocol": 2}


class ConnectionFactory(pool.ConnectionFactory[Any, Any, Any]):
    """django-redis's registry of pools, by URL and limits. A command is tried twice: a restarted server leaves dead
    connections in the pool. Without more, a lost Redis costs its caller no wait. With the option HURRIED a wait that
    was in vain ends it."""

    def make_connection_params(self, url: str) -> dict[str, Any]:
        hurried = {"supported_errors": (exceptions.ConnectionError,)} if self.options.get("HURRIED") else {}
        retry = Retry(NoBackoff(), 1, **hurried)
        return {**super().make_connection_params(url), "protocol": 2, "retry": retry}

    def get_or_create_connection_pool(self, params: dict[str, Any]) -> Any:
        limits = (self.options.get(name) for name in ("SOCKET_TIMEOUT", "SOCKET_CONNECT_TIMEOUT", "HURRIED"))
        name = " ".join((params["url"], *(str(limit or 0) for limit in limits)))
        if name not in self._pools:
            self._pools[name] = self.get_connection_pool(params)
        return self._pools[name]


@before_fork
def close_pools() -> None:
    """Closes every pool of the process; each opens again at its next use."""
    for opened in tuple(ConnectionFactory._pools.values()):
        opened.disconnect()


class Cache:
    """JSON values that expire, the latest quotes, who watches what, and publishing. Everything in it can be rebuilt."""

    def __init__(self, url: str, timeout_s: float = 5.0, *, hurried: bool = False) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._hurried = hurried

    @classmethod
    def from_settings(cls) -> Self:
        return cls(f"{settings.REDIS_URL}/{settings.REDIS_DB}", settings.REDIS_TIMEOUT_S)

    @cached_property
    def _client(self) -> Any:  # redis.Redis; its types leave open whether texts or bytes come back (bytes)
        limits = {"SOCKET_CONNECT_TIMEOUT": self._timeout_s, "SOCKET_TIMEOUT": self._timeout_s}
        return ConnectionFactory({**limits, "HURRIED": self._hurried}).connect(self._url)

    def hurried(self, timeout_s: float) -> Self:
        """The same for one who cannot wait longer than that, over connections of its own."""
        return type(self)(self._url, timeout_s, hurried=True)

    @redis_errors()
    def ping(self) -> None:
        self._client.ping()

    @redis_errors()
    def get_json(self, key: str) -> Any:
        """None where there is nothing (any more)."""
        return decoded(self._client.get(key), key)

    @redis_errors()
    def set_json(self, key: str, value: Any, ttl_s: float) -> None:
        self._client.set(key, msgspec.json.encode(value), px=max(1, round(ttl_s * 1000)))

    @redis_errors()
    def delete(self, *names: str) -> None:
        if names:
            self._client.delete(*names)

    @redis_errors()
    def put_quotes(self, quotes: Mapping[str, bytes]) -> None:
        """Replaces the quotes of these symbols; one entry per symbol, so the hash is bounded by the catalogue."""
        if quotes:
            self._client.hset(keys.QUOTES, mapping=dict(quotes))

    @redis_errors()
    def quotes(self, symbols: Sequence[str] | None = None) -> dict[str, bytes]:
        """JSON by symbol, of all or of those asked for; a symbol without a quote is absent."""
        if symbols is None:
            return {name.decode(): value for name, value in self._client.hgetall(keys.QUOTES).items()}
        return present(symbols, self._client.hmget(keys.QUOTES, symbols) if symbols else ())

    @redis_errors()
    def publish(self, channel: str, payload: bytes) -> int:
        """How many subscribers got it. Nobody else ever will: there is no queue behind a channel."""
        return int(self._client.publish(channel, payload))

    @redis_errors()
    def add_interest(self, items: Iterable[str], ttl_s: float) -> None:
        """Somebody watches these ("SYMBOL" or "SYMBOL@1m") for `ttl_s` more seconds; add them again before that."""
        for arguments in interest_batches(items, ttl_s):
            self._client.eval(ADD_INTEREST, 1, keys.INTEREST, *arguments)

    @redis_errors()
    def interest(self) -> set[str]:
        """What somebody watches now; what has expired is removed on the way."""
        return {item.decode() for item in self._client.eval(READ_INTEREST, 1, keys.INTEREST)}


def decoded(blob: bytes | None, key: str) -> Any:
    if blob is None:
        return None
    try:
        return msgspec.json.decode(blob)
    except msgspec.DecodeError:
        raise Malformed(f"The value of {key} in Redis is not JSON.", repr(blob)) from None


def present(symbols: Sequence[str], values: Iterable[bytes | None]) -> dict[str, bytes]:
    return {symbol: value for symbol, value in zip(symbols, values, strict=True) if value is not None}


def interest_batches(items: Iterable[str], ttl_s: float) -> Iterator[list[str]]:
    """Arguments of each call of the script that adds interest."""
    wanted = sorted(set(items))
    for start in range(0, len(wanted), INTEREST_BATCH):
        yield [str(round(ttl_s * 1000)), *wanted[start : start + INTEREST_BATCH]]
