"""RequestBudget: the pace of all processes towards the source, in Redis, and how many requests were made for what. The
data provider takes a turn before each history request; `manage.py budget` shows it.

The rate halves each time the source says "too many", at most once in `CALM_S` however many processes hear it, and
doubles again for each `RECOVERY_S` without that. Bound: nobody waits longer than `LONGEST_WAIT_S` for a turn, nor
beyond the moment of `turns_until`; that is Busy. Without Redis each process keeps the pause by itself, and requests are
not counted.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from infrastructure.errors import InfrastructureError, Unavailable
from infrastructure.persistence import keys
from infrastructure.persistence.redis import Cache, redis_errors
from infrastructure.tradingview.pace import PACE, Pace

logger = logging.getLogger(__name__)

SLOWEST = 64  # times slower than configured
LEAST_PAUSE_S = 0.5  # once the source has complained, also where no pause is configured
CALM_S = 5.0
RECOVERY_S = 300.0
LONGEST_WAIT_S = 60.0
COUNTED_DAYS = 40

#: KEYS budget, counts · ARGV pause ms, least pause ms, recovery ms, longest wait ms, cause, seconds counts are kept.
TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'next', 'slow', 'since')
local slow, since = tonumber(state[2] or '1'), tonumber(state[3] or '0')
while slow > 1 and now - since >= tonumber(ARGV[3]) do
  slow, since = slow / 2, since + ARGV[3]
end
local pause = tonumber(ARGV[1])
if slow > 1 then pause = math.max(pause, tonumber(ARGV[2])) * slow end
local turn = math.max(now, tonumber(state[1] or '0'))
if turn - now > tonumber(ARGV[4]) then return -1 end
redis.call('HSET', KEYS[1], 'next', turn + pause, 'slow', slow, 'since', since)
redis.call('HINCRBY', KEYS[2], ARGV[5], 1)
redis.call('EXPIRE', KEYS[2], ARGV[6])
return turn - now
"""
#: KEYS budget · ARGV calm ms, slowest, ms to wait before the next turn.
SLOW_DOWN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'next', 'slow', 'told')
redis.call('HSET', KEYS[1], 'next', math.max(tonumber(state[1] or '0'), now + ARGV[3]))
local slow = tonumber(state[2] or '1')
if now - tonumber(state[3] or '0') >= tonumber(ARGV[1]) then
  slow = math.min(slow * 2, tonumber(ARGV[2]))
  redis.call('HSET', KEYS[1], 'slow', slow, 'since', now, 'told', now)
end
return slow
"""

_cause: ContextVar[str] = ContextVar("cause", default="other")
_until_s: ContextVar[float] = ContextVar("until", default=math.inf)


class Busy(Unavailable):
    """No turn in time: the source was not asked, and nothing is wrong with it."""


@contextmanager
def because(cause: str) -> Iterator[None]:
    """Requests made inside are counted under it; the innermost counts."""
    token = _cause.set(cause)
    try:
        yield
    finally:
        _cause.reset(token)


@contextmanager
def turns_until(monotonic_s: float) -> Iterator[None]:
    """Inside nobody waits for a turn that comes later."""
    token = _until_s.set(monotonic_s)
    try:
        yield
    finally:
        _until_s.reset(token)


@dataclass(frozen=True, slots=True)
class Budget:
    """`slower`: how many times the configured pause; `counts`: requests by day (UTC) and cause."""

    slower: int
    counts: dict[str, dict[str, int]]


class RequestBudget(Cache):
    """A `Pace` of all processes."""

    local: Pace = PACE
    monotonic: Callable[[], float] = staticmethod(time.monotonic)

    def turn_s(self, pause_s: float) -> float:
        """As of `Pace`: the moment on the monotonic clock from which the caller may ask."""
        longest_s = min(LONGEST_WAIT_S, max(_until_s.get() - self.monotonic(), 0.0))
        arguments = [_ms(pause_s), _ms(LEAST_PAUSE_S), _ms(RECOVERY_S), _ms(longest_s), _cause.get()]
        try:
            with redis_errors():
                kept_s = COUNTED_DAYS * 86_400
                wait_ms = int(self._client.eval(TAKE, 2, keys.BUDGET, _today(), *arguments, kept_s))
        except InfrastructureError as error:
            logger.warning("requests are paced by this process alone: %s", error)
            return self.local.turn_s(pause_s)
        if wait_ms < 0:
            raise Busy("Too many requests to the source are waiting already.", LONGEST_WAIT_S)
        return self.monotonic() + wait_ms / 1000

    def slow_down(self, retry_after_s: float | None) -> None:
        """The source wants fewer requests."""
        wait_s = min(retry_after_s or 0.0, LONGEST_WAIT_S)
        try:
            with redis_errors():
                slow = self._client.eval(SLOW_DOWN, 1, keys.BUDGET, _ms(CALM_S), SLOWEST, _ms(wait_s))
        except InfrastructureError as error:
            logger.warning("only this process slows down: %s", error)
        else:
            logger.warning("the source wants fewer requests: all processes are %s times slower", slow)

    def count(self) -> None:
        """A request that has no turn of its own: a connection, a call over HTTP."""
        try:
            with redis_errors():
                both = self._client.pipeline(transaction=False)
                both.hincrby(_today(), _cause.get(), 1).expire(_today(), COUNTED_DAYS * 86_400).execute()
        except InfrastructureError as error:
            logger.warning("a request is not counted: %s", error)

    @redis_errors()
    def state(self, days: int = 7) -> Budget:
        slow, since = self._client.hmget(keys.BUDGET, "slow", "since")
        recovered = int((self._client.time()[0] - int(since or 0) / 1000) // RECOVERY_S)
        slower = max(int(slow or 1) >> min(max(recovered, 0), 10), 1)
        wanted = [datetime.now(UTC) - timedelta(days=back) for back in range(days)]
        counts = {f"{day:%Y-%m-%d}": _counts(self._client.hgetall(keys.requests(day.date()))) for day in wanted}
        return Budget(slower, {day: found for day, found in counts.items() if found})


def _counts(found: Any) -> dict[str, int]:
    return {cause.decode(): int(count) for cause, count in sorted(found.items())}


def _today() -> str:
    return keys.requests(datetime.now(UTC).date())


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
