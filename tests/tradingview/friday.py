"""A Friday on which all markets are open, and simulators whose clocks stand there: a module makes one its `server`."""

from collections.abc import Iterator
from datetime import UTC, datetime

from infrastructure.simulator import SimulatorServer, StandingClock

#: With New York, London, Chicago and the coins open: 10:07:31 in New York.
FRIDAY = int(datetime(2026, 11, 20, 15, 7, 31, tzinfo=UTC).timestamp() * 1000)
OPEN_MINUTE = FRIDAY - FRIDAY % 60_000


def paged(clock: StandingClock) -> Iterator[SimulatorServer]:
    """What it gives without a token is little, in short pages."""
    with SimulatorServer(clock=clock, anonymous_page=1000, anonymous_depth=6000) as running:
        yield running


def beating(clock: StandingClock) -> Iterator[SimulatorServer]:
    """Its heartbeats are frequent."""
    with SimulatorServer(clock=clock, heartbeat_s=0.2, echo_timeout_s=5) as running:
        yield running
