"""The adapters' settings that lead to a simulator."""

from dataclasses import replace
from typing import Any

from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview.config import TradingViewConfig


def config_for(server: SimulatorServer, **changes: Any) -> TradingViewConfig:
    config = TradingViewConfig(
        websocket_url=server.websocket_url,
        search_url=server.http_url,
        scanner_url=server.http_url,
        origin="https://www.tradingview.com",
        timeout_s=20,
        pause_s=0,
    )
    return replace(config, **changes)
