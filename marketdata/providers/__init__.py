"""The configured market data source. `get_provider()` and `get_stream_provider()` read a dotted path in the settings,
as Django does for its own backends; another source is another class behind the same two ports."""

from django.conf import settings
from django.utils.module_loading import import_string

from infrastructure.tradingview import (
    IDataProvider,
    IStreamProvider,
    TradingViewProvider,
    TradingViewWebSocketProvider,
)
from infrastructure.tradingview.websocket import Listener

__all__ = [
    "IDataProvider",
    "IStreamProvider",
    "TradingViewProvider",
    "TradingViewWebSocketProvider",
    "get_provider",
    "get_stream_provider",
]


def get_provider() -> IDataProvider:
    provider: IDataProvider = import_string(settings.MARKETDATA_PROVIDER).from_settings()
    return provider


def get_stream_provider(*listener: Listener) -> IStreamProvider:
    """`listener` hears the connections of a source that has some, to record them."""
    provider: IStreamProvider = import_string(settings.MARKETDATA_STREAM_PROVIDER).from_settings(*listener)
    return provider
