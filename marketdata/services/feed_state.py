"""What the feed says of itself in Redis, and how bad that is. Used by `manage.py feedstatus` and the admin."""

from datetime import datetime
from enum import IntEnum

import msgspec

from infrastructure.persistence import Cache, keys
from infrastructure.times import from_ms
from marketdata.services.feed_report import Feed, reported

MAX_AGE_S = 10.0  # it reports every second; Redis forgets it after five


class Health(IntEnum):
    """The exit codes that monitors of the Nagios family know."""

    GOOD = 0
    WARNING = 1  # it looks after itself, or somebody stopped it
    CRITICAL = 2  # nobody streams, and that does not end by itself
    UNKNOWN = 3


HEALTH = {
    "live": Health.GOOD,
    "market_closed": Health.GOOD,
    "connecting": Health.WARNING,
    "reconnecting": Health.WARNING,
    "stale": Health.WARNING,
    "stopped": Health.WARNING,
    "standby": Health.CRITICAL,
    "refused": Health.CRITICAL,
    "absent": Health.CRITICAL,
}


class FeedState(Feed, frozen=True):
    """As it is read: `since_ms` and `at_ms` are 0 where nobody said them."""

    @property
    def health(self) -> Health:
        return HEALTH.get(self.state, Health.UNKNOWN)

    @property
    def label(self) -> str:
        return self.state.replace("_", " ")

    @property
    def since(self) -> datetime | None:
        return from_ms(self.since_ms) if self.since_ms else None


def read(cache: Cache, now_ms: int, max_age_s: float = MAX_AGE_S) -> FeedState:
    """Unavailable where Redis does not answer, Malformed where it holds no report. One that is too old counts for
    nothing."""
    said = cache.get_json(keys.FEED)
    if said is None:
        return FeedState("absent", "No feed is running.")
    state = reported(said, FeedState)
    age_s = (now_ms - state.at_ms) / 1000
    if state.state != "absent" and age_s > max_age_s:
        silence = f"Nothing has been heard from the feed for {age_s:.0f} s; it was {state.label}."
        return msgspec.structs.replace(state, state="absent", reason=silence, since_ms=state.at_ms)
    return state
