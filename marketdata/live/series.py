"""Which stored series a streamed bar belongs to, if it may be stored; remembered for a while by the writer's thread."""

import time
from collections.abc import Callable

from infrastructure.errors import Malformed
from infrastructure.intervals import DAY_MS, Interval
from infrastructure.persistence import BarStore, Series, mongodb_errors
from infrastructure.tradingview.base import BarUpdate
from infrastructure.tradingview.hours import TradingHours
from marketdata.models import Symbol
from marketdata.services import hours, intake

REMEMBERED_S = 60.0  # a series that was rebuilt has a new revision, which must be noticed


class SeriesOf:
    """Bounded by the streamed topics. Calls the store and the ORM: for the writer's thread.

    None for a bar of a symbol that the platform does not know (any more), and for one that cannot be true: that one is
    set aside with its reason.
    """

    def __init__(self, store: BarStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._known: dict[tuple[str, str], tuple[float, Series | None, TradingHours | None]] = {}

    def __call__(self, update: BarUpdate) -> Series | None:
        key = (update.symbol, update.interval.name)
        found = self._known.get(key)
        if found is None or self._clock() - found[0] > REMEMBERED_S:
            found = self._known[key] = (self._clock(), *self._look_up(update.symbol, update.interval))
        _, series, known = found
        return series if series and intake.is_accepted(update, known) else None

    def _look_up(self, key: str, interval: Interval) -> tuple[Series | None, TradingHours | None]:
        with mongodb_errors():
            symbol = Symbol.objects.filter(pk=key).first()
        if symbol is None:
            return None, None
        known = hours_of(symbol)
        return self._store.series(key, interval, bars_per_week=bars_per_week(symbol, interval)), known


def hours_of(symbol: Symbol) -> TradingHours | None:
    """None while they are unknown, and where nobody can read them."""
    try:
        return hours.of_symbol(symbol)
    except Malformed:
        return None


def bars_per_week(symbol: Symbol, interval: Interval) -> float:
    """By its trading hours; as if it never closed while they are unknown."""
    known = hours_of(symbol)
    return known.bars_per_week(interval) if known else 7 * DAY_MS / interval.length_ms
