"""What a stream may be asked for: the quotes of symbols, or their minutes."""

from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.base import Wanted

MINUTE = INTERVALS["1m"]


def quotes(*symbols: str) -> Wanted:
    return Wanted(frozenset(symbols))


def minutes(*symbols: str) -> Wanted:
    return Wanted(frozenset(), frozenset((symbol, MINUTE) for symbol in symbols))
