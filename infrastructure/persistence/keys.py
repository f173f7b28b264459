"""Every Redis key and channel of the platform, behind one versioned prefix: a new format takes a new one. Pure."""

from datetime import date

PREFIX = "md1:"

QUOTES = PREFIX + "quotes"  # hash: symbol → the quote as JSON
LIVE = PREFIX + "live"  # channel: blocks of live updates
BARS = PREFIX + "bars"  # hash: SYMBOL@interval → the newest streamed bar as JSON
FEED = PREFIX + "feed"  # the feed's state as JSON
FENCE = PREFIX + "fence"  # fencing number of the newest leader that wrote; gone = Redis was emptied
LOG = PREFIX + "log"  # stream: closed bars in the order in which they were said, bounded
LOG_EPOCH = PREFIX + "log-epoch"  # which log it is; another one = entries may have been lost
LOG_MARKS = PREFIX + "log-marks"  # hash: SYMBOL@interval → times and digests of the bars logged last
INTEREST = PREFIX + "interest"  # sorted set: what somebody watches, scored with its expiry in ms

BUDGET = PREFIX + "budget"  # hash: when the next request to the source may be made, how much slower than configured


def requests(day: date) -> str:
    """Hash: cause → requests to the source of that day (UTC)."""
    return f"{PREFIX}requests|{day:%Y-%m-%d}"


def cached(kind: str, *parts: object) -> str:
    """The key of something kept for a while: cached("info", "NASDAQ:AAPL")."""
    return PREFIX + "|".join((kind, *map(str, parts)))
