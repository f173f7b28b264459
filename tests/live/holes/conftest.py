from collections.abc import Iterator

import pytest

from infrastructure.persistence import BarStore, Database
from infrastructure.simulator import SimulatorServer, StandingClock
from marketdata.live import holes
from marketdata.models import Symbol
from tests.live.holes.filling import AAPL, NOW_MS, RARE, Path, Source


@pytest.fixture
def store(database: Database) -> BarStore:
    store = BarStore(database)
    store.ensure()
    Symbol.objects.create(key=RARE)
    Symbol.objects.filter(pk=AAPL).update(session="0930-1600", timezone="America/New_York")
    return store


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(clock=StandingClock(NOW_MS)) as running:
        yield running


@pytest.fixture
def source(server: SimulatorServer) -> Source:
    return Source(server)


@pytest.fixture
def path(store: BarStore, source: Source) -> Iterator[Path]:
    path = Path(store, source)
    path.writer.start()
    yield path
    path.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "RETRY", holes.Backoff(0.01, 1, 0.01, 0))
