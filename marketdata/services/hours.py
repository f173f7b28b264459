"""Trading hours of a symbol, and which of its bars must have closed by now. Used by pulls, quotes and freshness."""

from functools import lru_cache

import numpy as np
from django.conf import settings

from infrastructure.intervals import DAY_MS, Interval
from infrastructure.tradingview.base import SymbolInfo
from infrastructure.tradingview.hours import TradingHours
from marketdata.models import Symbol

CLOSE_GRACE_MS = 2000  # a bar's last trades are still on the way
#: Looked back for the newest closed bar: most often found in the first; nothing in the last means a dead market.
WINDOWS_MS = (2 * DAY_MS, 10 * DAY_MS, 70 * DAY_MS)


def of_info(info: SymbolInfo) -> TradingHours:
    """Malformed where the source's texts cannot be read."""
    return _parsed(info.session, info.timezone, info.holidays, info.corrections)


def of_symbol(symbol: Symbol) -> TradingHours | None:
    """None while the platform has no information about the symbol."""
    if not (symbol.session and symbol.timezone):
        return None
    holidays = tuple(filter(None, symbol.holidays.split(",")))
    return _parsed(symbol.session, symbol.timezone, holidays, symbol.corrections)


@lru_cache(512)  # exchanges are few; the spans an instance has computed stay with it
def _parsed(session: str, timezone: str, holidays: tuple[str, ...], corrections: str) -> TradingHours:
    return TradingHours.parse(session, timezone, holidays, corrections)


def newest_closed_ms(hours: TradingHours, interval: Interval, now_ms: int) -> int | None:
    """Open of the newest bar whose close has passed; None where the market had none for ten weeks."""
    for window_ms in WINDOWS_MS:
        opens = hours.opens(now_ms - max(window_ms, 2 * interval.length_ms), now_ms, interval)
        for open_ms in opens[-2:][::-1].tolist():  # only the last one can still be forming
            if hours.bar_close_ms(open_ms, interval) <= now_ms:
                return int(open_ms)
    return None


def bars_between(hours: TradingHours, interval: Interval, start_ms: int, end_ms: int) -> int:
    """How many bars are expected to open in [start, end)."""
    return int(np.size(hours.opens(start_ms, end_ms, interval)))


def newest_known_ms(hours: TradingHours, interval: Interval, delay_s: int, now_ms: int) -> int | None:
    """Open of the newest bar that the source can have closed by our clock; None where ours does not tell."""
    if settings.MARKETDATA_SOURCE == "simulator" and settings.SIMULATOR_SPEED != 1:
        return None  # the source's clock is not ours
    return newest_closed_ms(hours, interval, now_ms - delay_s * 1000 - CLOSE_GRACE_MS)
