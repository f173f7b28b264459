from infrastructure.tradingview.base import IDataProvider, IStreamProvider
from infrastructure.tradingview.config import TradingViewConfig
from infrastructure.tradingview.provider import TradingViewProvider
from infrastructure.tradingview.websocket import TradingViewWebSocketProvider

__all__ = [
    "IDataProvider",
    "IStreamProvider",
    "TradingViewConfig",
    "TradingViewProvider",
    "TradingViewWebSocketProvider",
]
