"""Fixtures shared by more than one folder of tests."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from infrastructure.simulator import SimulatorServer

if TYPE_CHECKING:
    from infrastructure.tradingview.config import TradingViewConfig


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorServer]:
    """One for the run, on its own clock at normal speed. Tests that set faults or options start one of their own."""
    with SimulatorServer(seed=1) as server:
        yield server


@pytest.fixture
def tradingview_config(simulator: SimulatorServer) -> "TradingViewConfig":
    from infrastructure.tradingview.config import TradingViewConfig

    return TradingViewConfig(
        websocket_url=simulator.websocket_url,
        search_url=simulator.http_url,
        scanner_url=simulator.http_url,
        origin="https://www.tradingview.com",
        timeout_s=20,
        pause_s=0,
    )
