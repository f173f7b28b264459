"""Fixtures of the adapter's tests; the `server` is each module's own."""

from collections.abc import Iterator

import pytest

from infrastructure.http_client import HttpClient
from infrastructure.simulator import SimulatorServer, StandingClock
from infrastructure.tradingview import TradingViewProvider
from tests.tradingview.friday import FRIDAY
from tests.tradingview.settings_for import config_for


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock(FRIDAY)


@pytest.fixture
def provider(server: SimulatorServer) -> Iterator[TradingViewProvider]:
    with TradingViewProvider(config_for(server, page_bars=1000)) as running:
        yield running


@pytest.fixture
def http() -> Iterator[HttpClient]:
    with HttpClient(sleep=lambda _: None) as client:
        yield client
