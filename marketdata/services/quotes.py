"""Quotes over HTTP for symbols whose streamed quote is missing or old, into the QuoteStore. Used by the schedule.

The latest-quote hash in Redis stays the feed's alone: it writes there under its fencing number, and an answer that was
long on its way must not replace a newer streamed price. The hub and the API fall back on the QuoteStore.
"""

import logging
from dataclasses import asdict, dataclass, replace

from infrastructure.intervals import MINUTE_MS
from infrastructure.persistence import Database, QuoteStore, mongodb_errors
from infrastructure.tradingview.base import Quote
from infrastructure.tradingview.budget import because
from marketdata.models import Symbol
from marketdata.providers import IDataProvider
from marketdata.services import hours

logger = logging.getLogger(__name__)

OPEN_MAX_AGE_MS = MINUTE_MS
CLOSED_MAX_AGE_MS = 30 * MINUTE_MS
SYMBOLS_PER_REQUEST = 100


@dataclass(frozen=True, slots=True)
class Refreshed:
    asked: int
    received: int


def refresh(provider: IDataProvider, now_ms: int) -> Refreshed:
    store = QuoteStore(Database())
    symbols = _active()
    stored = store.load([symbol.key for symbol in symbols])
    wanted = [symbol.key for symbol in symbols if is_due(symbol, stored.get(symbol.key), now_ms)]
    received = 0
    for start in range(0, len(wanted), SYMBOLS_PER_REQUEST):
        with because("quotes"):
            found = provider.quotes(wanted[start : start + SYMBOLS_PER_REQUEST])
        received += len(found)
        store.save([(completed(quote, stored.get(key)), now_ms) for key, quote in found.items()])
    if wanted:
        logger.info("quotes: asked for %s, received %s", len(wanted), received)
    return Refreshed(len(wanted), received)


@mongodb_errors()
def _active() -> list[Symbol]:
    return list(Symbol.objects.filter(active=True))


def is_due(symbol: Symbol, stored: tuple[Quote, int] | None, now_ms: int) -> bool:
    if stored is None:
        return True
    known = hours.of_symbol(symbol)
    is_open = known is None or known.is_open(now_ms - symbol.delay_s * 1000)
    return now_ms - stored[1] > (OPEN_MAX_AGE_MS if is_open else CLOSED_MAX_AGE_MS)


def completed(quote: Quote, stored: tuple[Quote, int] | None) -> Quote:
    """An HTTP quote has fewer fields than a streamed one: what it leaves out and does not age is kept."""
    if stored is None:
        return quote
    kept = ("update_mode", "venue", "currency", "description", "previous_close")
    old = asdict(stored[0])
    missing = {name: old[name] for name in kept if getattr(quote, name) is None}
    if quote.last_ms is None and quote.last == stored[0].last:
        missing["last_ms"] = stored[0].last_ms
    return replace(quote, **missing)
