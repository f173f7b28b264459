"""The live side of Redis: the feed writes values and publishes them in one step, under its fencing number; the web
process reads what a new subscriber must know first."""

from collections.abc import Collection, Mapping
from enum import IntEnum

from infrastructure.persistence import keys
from infrastructure.persistence.redis import Cache, redis_errors
from infrastructure.persistence.redis_async import AsyncCache

FENCE_TTL_MS = 60_000  # longer than any pause after which a replaced leader may still believe that it leads
FEED_TTL_MS = 5_000

# One step, so that no write of a replaced leader can slip between a check and its effect.
# ARGV: fence, its ttl, feed state or "", its ttl, block, "1" to start the hashes anew, counts of quotes and of bars,
# then their pairs, then the bars to forget.
SPEAK = """
local last = redis.call('GET', KEYS[1])
if last and tonumber(last) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[6] == '1' then redis.call('DEL', KEYS[2], KEYS[3]) end
local bars = 9 + 2 * tonumber(ARGV[7])
local gone = bars + 2 * tonumber(ARGV[8])
for i = 9, gone - 1, 2 do redis.call('HSET', i < bars and KEYS[2] or KEYS[3], ARGV[i], ARGV[i + 1]) end
for i = gone, #ARGV do redis.call('HDEL', KEYS[3], ARGV[i]) end
if ARGV[3] ~= '' then redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[4]) end
redis.call('PUBLISH', KEYS[5], ARGV[5])
return last and 1 or 2
"""


class Heard(IntEnum):
    """What became of a message: REPLACED = a newer leader has spoken, nothing was written; AFRESH = it was written, but
    Redis had forgotten what came before."""

    REPLACED = 0
    WRITTEN = 1
    AFRESH = 2


class LiveCache(Cache):
    @redis_errors()
    def speak(
        self,
        fence: int,
        block: bytes,
        quotes: Mapping[str, bytes],
        bars: Mapping[str, bytes],
        feed: bytes = b"",
        *,
        gone_bars: Collection[str] = (),
        anew: bool = False,
    ) -> Heard:
        """Stores the values and the state, then publishes the block. `anew`: these quotes and bars are all there is."""
        pairs = [item for values in (quotes, bars) for pair in values.items() for item in pair]
        arguments = (fence, FENCE_TTL_MS, feed, FEED_TTL_MS, block, "1" if anew else "", len(quotes), len(bars))
        names = (keys.FENCE, keys.QUOTES, keys.BARS, keys.FEED, keys.LIVE)
        return Heard(self._client.eval(SPEAK, len(names), *names, *arguments, *pairs, *gone_bars))


class AsyncLiveCache(AsyncCache):
    async def abars(self) -> dict[str, bytes]:
        """The newest streamed bar of each SYMBOL@interval, as JSON."""
        with redis_errors():
            return {topic.decode(): value for topic, value in (await self._client.hgetall(keys.BARS)).items()}
