"""The log of closed bars: a Redis Stream that the feed appends to in the step that publishes, and that every web
process mirrors. Lua parts and their readers; used by `live` only.

Each entry has a kind (`c`, a closed bar; `e`, the first one of a log; `a` is reserved for alerts), a topic and a JSON.
Bounds: about LOG_LENGTH entries, then the oldest go; MARKS marks of each topic that was ever streamed.

The epoch is the server's run id and the id of the first entry, so another one means that entries may have been lost: a
server that was restarted or replaced, or that was emptied.
"""

from typing import Any, NamedTuple

LOG_LENGTH = 20_000
LOG_PAGE = 1000  # entries a script call: Lua must not hold the server for long
MARKS = 16  # more than the bars of a series that a feed says again when it connects

# INFO costs the server about 2 microseconds: little for what every batch of closed bars asks.
OPEN_LOG = """
local function begin_log(log, epoch, marks)
  redis.call('DEL', log, marks)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  local name = string.sub(run, 1, 8) .. '-' .. redis.call('XADD', log, '*', 'k', 'e', 't', '', 'j', '')
  redis.call('SET', epoch, name)
  return name
end
local function open_log(log, epoch, marks)
  local name = redis.call('GET', epoch)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  if name and string.sub(name, 1, 8) == string.sub(run, 1, 8) and redis.call('XLEN', log) > 0 then return name end
  return begin_log(log, epoch, marks)
end
"""

# A mark is `<bar time>:<digest of its values>`; the newest marks of a topic tell what is in the log already.
APPEND_CLOSED = f"""
local function is_new(marks, topic, mark)
  local known = redis.call('HGET', marks, topic) or ' '
  if string.find(known, ' ' .. mark .. ' ', 1, true) then return false end
  local time = string.gsub(string.match(mark, '^[^:]+'), '%-', '%%-')
  known = string.gsub(known, ' ' .. time .. ':%x+', '', 1) .. mark .. ' '
  local _, count = string.gsub(known, ':', '')
  if count > {MARKS} then known = string.match(known, '^ %S+(.*)$') end
  redis.call('HSET', marks, topic, known)
  return true
end
"""

# KEYS: log, epoch, marks. ARGV: the id after which to read or '-', how many entries.
READ_LOG = f"""{OPEN_LOG}
local epoch = open_log(KEYS[1], KEYS[2], KEYS[3])
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
return {{epoch, first, redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])}}
"""


class LogEntry(NamedTuple):
    offset: str  # the stream's id, `<ms>-<n>`
    kind: bytes
    topic: bytes
    json: bytes


class LogPage(NamedTuple):
    """Some entries in order; `first` is the oldest offset that is still in the log."""

    epoch: str
    first: str
    entries: list[LogEntry]


def as_page(answer: list[Any]) -> LogPage:
    epoch, first, rows = answer
    entries = [LogEntry(offset.decode(), *fields[1::2]) for offset, fields in rows]
    return LogPage(epoch.decode(), first.decode(), entries)


def newest_marked(marks: bytes) -> int:
    """Time of the newest bar among the marks of a topic."""
    return max(int(mark.partition(b":")[0]) for mark in marks.split())
