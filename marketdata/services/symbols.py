"""Symbol information from the source into the Symbol collection: new symbols, refreshes, renames noticed on the way.
Used by the refresh task, the commands and the admin."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
from django.db import IntegrityError
from django.utils import timezone

from infrastructure.errors import InfrastructureError, Rejected, Unavailable
from infrastructure.intervals import Interval
from infrastructure.persistence import Cache, keys, mongodb_errors
from infrastructure.tradingview.base import SymbolInfo
from infrastructure.tradingview.budget import because
from marketdata.models import Symbol
from marketdata.providers import IDataProvider
from marketdata.services.upstream import UpstreamOff

logger = logging.getLogger(__name__)

#: EXCHANGE:TICKER. What separates topics and blocks of the live protocol (| @ and blanks) is in no ticker.
SHAPE = re.compile(r"[A-Z0-9_]{1,24}:[^\s|@:\"\\]{1,39}")
CACHED_S = 6 * 3600.0
REFRESH_AFTER = timedelta(hours=20)
UNAVAILABLE_IN_A_ROW = 3  # then the source is away, not a symbol of it


def key_of(text: str) -> str:
    """The key a person meant; Rejected where it cannot be one."""
    key = text.strip().upper()
    if not SHAPE.fullmatch(key):
        raise Rejected(f"{text.strip()!r} is not of the form EXCHANGE:TICKER, as in NASDAQ:AAPL.")
    return key


def facts(info: SymbolInfo) -> dict[str, Any]:
    """The fields of Symbol that the source decides."""
    return {
        "description": info.description[:200],
        "type": info.type,
        "currency": info.currency,
        "timezone": info.timezone,
        "session": info.session,
        "holidays": ",".join(info.holidays),
        "corrections": info.corrections,
        "price_scale": info.price_scale,
        "min_move": info.min_move,
        "has_volume": info.has_volume,
        "has_intraday": info.has_intraday,
        "full_name": info.full_name,
        "pro_name": info.pro_name,
        "venue": info.exchange,
        "update_mode": info.update_mode,
        "delay_s": info.delay_s,
        "aliases": list(info.aliases),
    }


def information(key: str, provider: IDataProvider) -> SymbolInfo:
    """What the source says of a symbol, remembered in Redis for hours; without Redis the source is asked each time."""
    name = keys.cached("info", key)
    cache = Cache.from_settings()
    try:
        found = cache.get_json(name)
        if found is not None:
            return msgspec.convert(found, SymbolInfo)
    except (InfrastructureError, msgspec.ValidationError) as error:
        logger.warning("%s: cached information is not readable: %s", key, error)
    return _asked(key, provider)


def _asked(key: str, provider: IDataProvider) -> SymbolInfo:
    with because("symbols"):
        info = provider.resolve(key)
    try:
        Cache.from_settings().set_json(keys.cached("info", key), info, CACHED_S)
    except InfrastructureError as error:
        logger.warning("%s: information is not cached: %s", key, error)
    return info


def check_interval(key: str, interval: Interval, has_intraday: bool) -> None:
    if interval.intraday and not has_intraday:
        raise Rejected(f"{key} has no {interval} bars: its source offers none below one day.")


@mongodb_errors()
def add(info: SymbolInfo, *, active: bool, **choices: Any) -> Symbol:
    """The symbol with this information; one that exists already is left as it is."""
    symbol = Symbol(key=info.symbol, active=active, refreshed_at=timezone.now(), **choices, **facts(info))
    try:
        symbol.save(force_insert=True)
    except IntegrityError:
        return Symbol.objects.get(pk=info.symbol)
    logger.info("%s: added, resolved as %s", symbol.key, symbol.full_name)
    return symbol


@dataclass(slots=True)
class Refreshed:
    symbols: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@mongodb_errors()
def due() -> list[str]:
    """Active symbols without recent information."""
    limit = timezone.now() - REFRESH_AFTER
    rows = Symbol.objects.filter(active=True).only("key", "refreshed_at")
    return [row.key for row in rows if row.refreshed_at is None or row.refreshed_at < limit]


def refresh(provider: IDataProvider, wanted: Iterable[str]) -> Refreshed:
    """Asks the source for each. What fails for one is kept as its error; a source that is away is raised."""
    result = Refreshed()
    away = 0
    for key in wanted:
        try:
            _refresh(key, _asked(key, provider))
        except UpstreamOff:
            raise
        except Unavailable as error:
            away += 1
            if away == UNAVAILABLE_IN_A_ROW:
                raise
            _fail(key, error, result)
        except InfrastructureError as error:
            _fail(key, error, result)
        else:
            away = 0
            result.symbols += 1
    return result


def _fail(key: str, error: InfrastructureError, result: Refreshed) -> None:
    logger.warning("%s: information was not refreshed: %s", key, error)
    result.failed[key] = str(error)
    with mongodb_errors():
        Symbol.objects.filter(pk=key).update(error=str(error)[:500])


@mongodb_errors()
def _refresh(key: str, info: SymbolInfo) -> None:
    symbol = Symbol.objects.filter(pk=key).first()
    if symbol is None:  # deleted meanwhile
        return
    changes = facts(info)
    if said := renames(symbol, info):
        logger.warning("%s: %s", key, said)
        changes["note"] = f"{timezone.now():%Y-%m-%d}: {said}"[:300]
    Symbol.objects.filter(pk=key).update(error="", refreshed_at=timezone.now(), **changes)


def renames(symbol: Symbol, info: SymbolInfo) -> str:
    """What a person should know of a change of names; "" without one. The series goes on under its own key."""
    if symbol.refreshed_at is None:  # nothing was known yet
        return ""
    said = []
    if symbol.full_name != info.full_name:
        said.append(f"prices now come from {info.full_name}, not from {symbol.full_name}")
    if symbol.pro_name != info.pro_name:
        now = f"now listed as {info.pro_name}, not as {symbol.pro_name}"
        said.append(f"it is {f'an old name of {info.pro_name}' if symbol.key in info.aliases else now}")
    if new := [name for name in info.aliases if name not in symbol.aliases and name != symbol.key]:
        said.append(f"also known as {', '.join(new)}")
    return "; ".join(said)


def make_known(wanted: Sequence[str], intervals: Iterable[Interval], provider: IDataProvider) -> None:
    """Adds those that the platform does not have yet, inactive. Rejected, with nothing added, where the source does not
    know one of them or it has no such bars."""
    with mongodb_errors():
        known = {row.key: row for row in Symbol.objects.filter(pk__in=list(wanted))}
    found = {key: information(key, provider) for key in wanted if key not in known}
    for interval in intervals:
        for key in wanted:
            check_interval(key, interval, (found.get(key) or known[key]).has_intraday)
    for info in found.values():
        add(info, active=False)
