"""The series of the bar store that belong to a symbol. Used by pulls, backfills, the API and the admin."""

from infrastructure.intervals import Interval
from infrastructure.persistence import BarStore, Database, Series
from infrastructure.tradingview.base import SymbolInfo
from marketdata.services import hours


def store() -> BarStore:
    return BarStore(Database())


def series_of(bars: BarStore, key: str, interval: Interval, info: SymbolInfo) -> Series:
    """Made where there is none; its chunks are sized by the trading hours."""
    return bars.series(key, interval, bars_per_week=hours.of_info(info).bars_per_week(interval))


def last_bars_ms(bars: BarStore) -> dict[tuple[str, str], int]:
    """Open of the newest stored bar by (symbol, interval name), of all series in one round trip."""
    return {(one.symbol, one.interval.name): one.last_ms for one in bars.all_series() if one.last_ms is not None}
