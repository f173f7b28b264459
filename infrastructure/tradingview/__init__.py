from infrastructure.tradingview.base import IDataProvider, IStreamProvider

__all__ = ["IDataProvider", "IStreamProvider"]
