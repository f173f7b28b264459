"""Fixtures shared by more than one folder of tests."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from infrastructure.simulator import SimulatorServer

if TYPE_CHECKING:
    from infrastructure.tradingview.config import TradingViewConfig

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorServer]:
    """One for the run, on its own clock at normal speed. Tests that set faults or options start one of their own."""
    with SimulatorServer(seed=1) as server:
        yield server


@pytest.fixture
def tradingview_config(simulator: SimulatorServer) -> "TradingViewConfig":
    from tests.tradingview.settings_for import config_for

    return config_for(simulator)
