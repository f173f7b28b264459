"""How long the bars of a symbol are kept, where an operator limits it (`Symbol.keep_days`); by default for ever. Run
once a day by a schedule; gaps and backfills leave out what is not kept, so nothing is fetched to be deleted again."""

import logging
import re

from infrastructure.errors import Rejected
from infrastructure.intervals import DAY_MS, Interval, parse_interval
from infrastructure.persistence import BarStore, Series, mongodb_errors
from infrastructure.times import from_ms
from marketdata.models import Symbol
from marketdata.services import coverage

logger = logging.getLogger(__name__)

LIMIT = re.compile(r"(\w+)=([1-9]\d{0,4})")


def parse(text: str) -> dict[str, int]:
    """Days by interval name, of a text as in "1m=365 5m=1000". Rejected where it is not like that."""
    found = {}
    for part in text.split():
        match = LIMIT.fullmatch(part)
        if match is None:
            raise Rejected(f"{part!r} is not of the form INTERVAL=DAYS, as in 1m=365.")
        found[parse_interval(match[1]).name] = int(match[2])
    return found


def kept_from_ms(symbol: Symbol, interval: Interval, now_ms: int) -> int | None:
    """Bars that open before it are not kept, so nobody fetches them either; None where all are. Rejected as `parse`."""
    days = parse(symbol.keep_days).get(interval.name)
    return None if days is None else now_ms - days * DAY_MS


def trim(bars: BarStore, now_ms: int) -> int:
    """How many documents were deleted or shortened. A text that is no limit stops none of the others."""
    with mongodb_errors():
        limited = {row.key: row for row in Symbol.objects.exclude(keep_days="")}
    changed = 0
    for series in bars.all_series() if limited else ():
        if series.symbol in limited:
            try:
                changed += _trim_one(bars, series, kept_from_ms(limited[series.symbol], series.interval, now_ms))
            except Rejected as error:
                logger.error("%s %s: its bars are all kept: %s", series.symbol, series.interval, error)
    return changed


def _trim_one(bars: BarStore, series: Series, before_ms: int | None) -> int:
    """Coverage first: it never claims what is not there, wherever a process dies."""
    if before_ms is None:
        return 0
    coverage.store().cut(series, before_ms)
    changed = bars.drop_before(series, before_ms)
    if changed:
        logger.info("%s %s: bars before %s deleted", series.symbol, series.interval, from_ms(before_ms))
    return changed
