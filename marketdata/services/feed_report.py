"""What the feed says of itself. Pure; its state in Redis, and part of the live protocol."""

from typing import Any, TypeVar

import msgspec

from infrastructure.errors import Malformed

Report = TypeVar("Report", bound="Feed")


class Feed(msgspec.Struct, frozen=True):
    """What the feed says of itself: the value of the feed key, and the `feed` of `hello` and `status`.

    `fence` is the epoch of every `seq`. States: those of StreamState, and market_closed, standby, absent.
    """

    state: str
    reason: str = ""
    since_ms: int = 0
    at_ms: int = 0
    source: str = ""
    simulated: bool = False
    fence: int = 0
    symbols: int = 0
    waiting_bars: int = 0

    def said(self) -> tuple[Any, ...]:
        """What is worth telling browsers: all but the time of the report."""
        return (self.state, self.reason, self.since_ms, self.source, self.simulated, self.fence, self.symbols)


def reported(said: Any, kind: type[Report]) -> Report:
    """Of JSON that was read. Malformed where it is no such report."""
    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError as error:
        raise Malformed(f"What the feed says of itself cannot be read: {error}", repr(said)) from None
