"""How long the bars of a symbol are kept, where an operator limits it (`Symbol.keep_days`); by default for ever. Run
once a day by a schedule. Whole documents go, so up to one of them more than asked for stays."""

import logging
import re

from infrastructure.errors import Rejected
from infrastructure.intervals import DAY_MS, parse_interval
from infrastructure.persistence import BarStore, mongodb_errors
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


def trim(bars: BarStore, now_ms: int) -> int:
    """How many documents were deleted."""
    with mongodb_errors():
        limits = {row.key: parse(row.keep_days) for row in Symbol.objects.exclude(keep_days="")}
    deleted = 0
    for series in bars.all_series() if limits else ():
        days = limits.get(series.symbol, {}).get(series.interval.name)
        if days is None:
            continue
        gone, before_ms = bars.drop_before(series, now_ms - days * DAY_MS)
        if gone:
            coverage.store().cut(series, before_ms)
            logger.info("%s %s: bars before %s deleted", series.symbol, series.interval, from_ms(before_ms))
        deleted += gone
    return deleted
