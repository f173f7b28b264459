from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from infrastructure.simulator import SimulatorServer, StandingClock

#: A Friday with New York, London, Chicago and the coins open: 10:07:31 in New York.
FRIDAY_MS = int(datetime(2026, 11, 20, 15, 7, 31, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock(FRIDAY_MS)


@pytest.fixture
def server(clock: StandingClock) -> Iterator[SimulatorServer]:
    with SimulatorServer(seed=1, clock=clock) as running:
        yield running
