"""The live side of Redis: the feed writes values, logs closed bars and publishes in one step, under its fencing number;
the web process reads what a new subscriber must know first."""

from collections.abc import Collection, Iterable, Mapping
from enum import IntEnum

from infrastructure.persistence import keys
from infrastructure.persistence.closed_log import (
    APPEND_CLOSED,
    LOG_LENGTH,
    LOG_PAGE,
    OPEN_LOG,
    READ_LOG,
    LogPage,
    as_page,
    newest_marked,
)
from infrastructure.persistence.redis import Cache, redis_errors
from infrastructure.persistence.redis_async import AsyncCache

FENCE_TTL_MS = 60_000  # longer than any pause after which a replaced leader may still believe that it leads
FEED_TTL_MS = 5_000

# One step, so that no write of a replaced leader can slip between a check and its effect.
# ARGV: fence, its ttl, feed state or "", its ttl, block, "1" to start the hashes anew, counts of quotes, of bars and of
# bars to forget, "1" to start the log anew, then the pairs, the bars to forget, and topic, mark, JSON of closed bars.
SPEAK = """
local last = redis.call('GET', KEYS[1])
if last and tonumber(last) > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if ARGV[6] == '1' then redis.call('DEL', KEYS[2], KEYS[3]) end
local bars = 11 + 2 * tonumber(ARGV[7])
local gone = bars + 2 * tonumber(ARGV[8])
local closed = gone + tonumber(ARGV[9])
for i = 11, gone - 1, 2 do redis.call('HSET', i < bars and KEYS[2] or KEYS[3], ARGV[i], ARGV[i + 1]) end
for i = gone, closed - 1 do redis.call('HDEL', KEYS[3], ARGV[i]) end
if ARGV[3] ~= '' then redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[4]) end
local block = ARGV[5]
if closed <= #ARGV then block = block .. append(closed) end
redis.call('PUBLISH', KEYS[5], block)
return last and 1 or 2
"""
# What a block says of the closed bars that were not in the log yet: its epoch, then each with its offset.
APPEND = f"""
local function append(start)
  local open = ARGV[10] == '1' and begin_log or open_log
  local lines = {{'', 'l|' .. open(KEYS[6], KEYS[7], KEYS[8]) .. '|'}}
  for i = start, #ARGV, 3 do
    local topic, json = ARGV[i], ARGV[i + 2]
    if is_new(KEYS[8], topic, ARGV[i + 1]) then
      local id = redis.call('XADD', KEYS[6], 'MAXLEN', '~', {LOG_LENGTH}, '*', 'k', 'c', 't', topic, 'j', json)
      lines[#lines + 1] = 'c|' .. topic .. '|' .. id .. ' ' .. json
    end
  end
  return table.concat(lines, '\\n')
end
"""
SPEAK_LOGGED = OPEN_LOG + APPEND_CLOSED + APPEND + SPEAK


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
        closed: Iterable[tuple[str, str, bytes]] = (),
        gone_bars: Collection[str] = (),
        anew: bool = False,
        log_anew: bool = False,
    ) -> Heard:
        """Stores the values and the state, logs those of `closed` (topic, mark, JSON) that are not in the log yet, then
        publishes the block and them. `anew`: these quotes and bars are all there is; `log_anew`: closed bars were lost.
        """
        pairs = [item for values in (quotes, bars) for pair in values.items() for item in pair]
        said = [part for one in closed for part in one]
        counts = (len(quotes), len(bars), len(gone_bars))
        switches = ("1" if anew else "", "1" if log_anew else "")
        arguments = (fence, FENCE_TTL_MS, feed, FEED_TTL_MS, block, switches[0], *counts, switches[1])
        names = (keys.FENCE, keys.QUOTES, keys.BARS, keys.FEED, keys.LIVE, keys.LOG, keys.LOG_EPOCH, keys.LOG_MARKS)
        script = SPEAK_LOGGED if said else SPEAK
        return Heard(self._client.eval(script, len(names), *names, *arguments, *pairs, *gone_bars, *said))

    @redis_errors()
    def logged_until(self) -> dict[str, int]:
        """Open of the newest closed bar in the log, by SYMBOL@interval; empty where the log was lost."""
        return {topic.decode(): newest_marked(marks) for topic, marks in self._client.hgetall(keys.LOG_MARKS).items()}


class AsyncLiveCache(AsyncCache):
    async def abars(self) -> dict[str, bytes]:
        """The newest streamed bar of each SYMBOL@interval, as JSON."""
        with redis_errors():
            return {topic.decode(): value for topic, value in (await self._client.hgetall(keys.BARS)).items()}

    async def alog(self, after: str | None = None, count: int = LOG_PAGE) -> LogPage:
        """The next entries of the log of closed bars, from its start or after an offset; begins it where there is none
        that can be trusted."""
        names = (keys.LOG, keys.LOG_EPOCH, keys.LOG_MARKS)
        with redis_errors():
            start = "-" if after is None else f"({after}"
            return as_page(await self._client.eval(READ_LOG, len(names), *names, start, count))
