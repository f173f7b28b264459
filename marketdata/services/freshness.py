"""Is what we hold of a symbol as new as its market allows? A closed market is not stale. Pure; used by the admin."""

from enum import StrEnum

from infrastructure.intervals import MINUTE_MS, Interval
from infrastructure.tradingview.hours import TradingHours
from marketdata.services.hours import newest_closed_ms

GRACE_MS = 2 * MINUTE_MS  # a schedule's minute and the pull itself
SPARE_BARS = 3  # a market may trade nothing for a while
QUOTE_MS = 5 * MINUTE_MS


class Freshness(StrEnum):
    FRESH = "fresh"
    STALE = "stale"
    MISSING = "missing"


def of_bars(
    last_ms: int | None, hours: TradingHours | None, interval: Interval, delay_s: int, now_ms: int
) -> Freshness:
    """`last_ms` is the open of the newest stored bar. Without trading hours only what is missing shows."""
    if last_ms is None:
        return Freshness.MISSING
    if hours is None:
        return Freshness.FRESH
    due_ms = newest_closed_ms(hours, interval, now_ms - delay_s * 1000 - GRACE_MS)
    if due_ms is None or last_ms >= due_ms:
        return Freshness.FRESH
    behind = hours.opens(last_ms + 1, due_ms + 1, interval)
    return Freshness.FRESH if len(behind) <= SPARE_BARS else Freshness.STALE


def of_quote(updated_ms: int | None, hours: TradingHours | None, now_ms: int) -> Freshness:
    """A quote kept up to the last close stays fresh until the market has been open again for a while."""
    if updated_ms is None:
        return Freshness.MISSING
    if hours is None:
        return Freshness.FRESH if now_ms - updated_ms <= QUOTE_MS else Freshness.STALE
    traded_ms = sum(
        min(span.close_ms, now_ms) - max(span.open_ms, updated_ms)
        for span in hours.spans(max(updated_ms, now_ms - 7 * 24 * 60 * MINUTE_MS), now_ms)
    )
    return Freshness.FRESH if traded_ms <= QUOTE_MS else Freshness.STALE
