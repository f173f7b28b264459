"""What the feed streams: what the operator chose per symbol, and what browsers watch. Used by the leader."""

from collections.abc import Collection, Set
from dataclasses import dataclass

from infrastructure.errors import Malformed
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import mongodb_errors
from infrastructure.tradingview.base import Wanted
from infrastructure.tradingview.hours import TradingHours
from marketdata.live.protocol import sendable, split_topic
from marketdata.models import Symbol
from marketdata.services import hours


@dataclass(frozen=True, slots=True)
class Streamable:
    """A symbol of the platform as the feed sees it; `hours` is None where they are unknown."""

    key: str
    quotes: bool
    intervals: tuple[str, ...]
    hours: TradingHours | None


@mongodb_errors()
def streamable() -> dict[str, Streamable]:
    """Every symbol by key; one that is not active is streamed only while somebody watches it."""
    return {symbol.key: _streamable(symbol) for symbol in Symbol.objects.all() if sendable(symbol.key)}


def _streamable(symbol: Symbol) -> Streamable:
    try:
        known = hours.of_symbol(symbol)
    except Malformed:
        known = None
    intervals = tuple(symbol.stream_intervals or ()) if symbol.active else ()
    return Streamable(symbol.key, symbol.active and symbol.stream_quotes, intervals, known)


def wanted(symbols: dict[str, Streamable], interest: Set[str]) -> Wanted:
    """Interest in symbols the platform does not have, or in intervals there are none of, is left out."""
    topics = {(one.key, interval) for one in symbols.values() for interval in one.intervals}
    topics |= {split_topic(item) for item in interest if "@" in item}
    quotes = {one.key for one in symbols.values() if one.quotes} | (interest & symbols.keys())
    pairs = {(key, INTERVALS[interval]) for key, interval in topics if key in symbols and interval in INTERVALS}
    named = quotes | {key for key, _ in pairs}
    return Wanted(frozenset(quotes), frozenset(pairs), {key: known for key in named if (known := symbols[key].hours)})


def markets(symbols: dict[str, Streamable], wish: Wanted) -> set[TradingHours | None]:
    """The trading hours of what is wanted, of equal ones one; None stands for unknown ones."""
    named = {*wish.quotes, *(key for key, _ in wish.bars)}
    return {symbols[key].hours for key in named if key in symbols}


def all_closed(markets: Collection[TradingHours | None], now_ms: int) -> bool:
    """Whether every one of these markets is closed; unknown hours count as open, and no market at all is not closed."""
    return bool(markets) and not any(one is None or one.is_open(now_ms) for one in markets)
