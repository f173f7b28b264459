from infrastructure.tradingview.base import IDataProvider, IStreamProvider
from infrastructure.tradingview.config import TradingViewConfig

__all__ = ["IDataProvider", "IStreamProvider", "TradingViewConfig"]
