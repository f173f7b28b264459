"""Bars on their way into the store: checked, the bad ones set aside where an operator sees them, the rest written.
Every path goes through here: pulls, backfills, imports; the feed asks `fault_of`."""

import logging

from infrastructure.bars import Bars
from infrastructure.intervals import Interval
from infrastructure.persistence import Database, FindingStore, Found
from infrastructure.tradingview.base import BarUpdate, History
from infrastructure.tradingview.hours import TradingHours
from marketdata.services import hours
from marketdata.services.bar_checks import Checked, check

logger = logging.getLogger(__name__)

REJECTED = "rejected"


def accept(page: History, symbol: str) -> Bars:
    """The bars of a page that may be stored."""
    return accepted(symbol, page.interval, check(page.bars, page.interval, hours.of_info(page.info), page.server_ms))


def accepted(symbol: str, interval: Interval, checked: Checked) -> Bars:
    """The good ones; notes the others."""
    if checked.bad:
        note(symbol, interval, checked)
    return checked.good


def note(symbol: str, interval: Interval, checked: Checked) -> None:
    logger.warning("%s %s: %s bars set aside, first because %s", symbol, interval, len(checked.bad), checked.bad[0][1])
    found = [Found.of_bar(REJECTED, symbol, interval.name, fault.value, bar) for bar, fault in checked.bad]
    FindingStore(Database()).note(found)


def is_accepted(update: BarUpdate, known: TradingHours | None) -> bool:
    """Of a bar that was streamed; one that is not accepted is noted."""
    bar = update.bar
    one = Bars.from_rows([(bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume)])
    return len(accepted(update.symbol, update.interval, check(one, update.interval, known, update.server_ms))) == 1
