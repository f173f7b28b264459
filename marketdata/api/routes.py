"""GET symbols, bars, gaps, quotes, status; POST tickets. Errors are JSON `{"detail": sentence}` with a status of their
kind."""

import time
from collections.abc import Mapping
from typing import Annotated

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Query
from ninja.errors import AuthenticationError, HttpError, ValidationError

from infrastructure.bars import Bars
from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable
from infrastructure.intervals import DAY_MS, INTERVALS, Interval, parse_multiple
from infrastructure.persistence import BarStore, Cache, Database, QuoteStore, keys, mongodb_errors
from marketdata.api import answers
from marketdata.api.admission import account, viewer
from marketdata.live.protocol import encode_quote
from marketdata.models import Symbol
from marketdata.services import holders, upstream
from marketdata.services.derived import Derived, Stored, derived
from marketdata.services.missing import missing_bars

MOST_BARS = 5000
MOST_SYMBOLS = 1000
MOST_GAPS = 1000
GAP_DAYS, LONG_GAP_DAYS = 4000, 40_000  # looked through at once; the second for days, weeks and months
STREAMED_MS = 60_000  # a streamed quote older than this may have a newer one in the database

YEARS = Query(ge=-62_135_596_800_000, lt=253_402_300_800_000)  # 1 to 9999
Instant = Annotated[int, YEARS]
Moment = Annotated[int | None, YEARS]


api = NinjaAPI(title="Market data", version="1", docs_url=None, auth=viewer, urls_namespace="api-1")


def _failed(request: HttpRequest, status: int, detail: str) -> HttpResponse:
    return api.create_response(request, {"detail": detail}, status=status)


@api.exception_handler(InfrastructureError)
def failure(request: HttpRequest, error: InfrastructureError) -> HttpResponse:
    """Unavailable 503, Malformed 502, Rejected 400."""
    status = 503 if isinstance(error, Unavailable) else 502 if isinstance(error, Malformed) else 400
    return _failed(request, status, str(error))


@api.exception_handler(AuthenticationError)
def not_allowed(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return _failed(request, 401, "Log in, or send a valid API key, to read market data.")


@api.exception_handler(ValidationError)
def not_understood(request: HttpRequest, error: ValidationError) -> HttpResponse:
    said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors)
    return _failed(request, 400, f"{said}.")


@api.get("/symbols", summary="Every symbol of the platform, in the order of the default watch list")
@mongodb_errors()
def symbols(request: HttpRequest) -> HttpResponse:
    rows = sorted(Symbol.objects.all().order_by(), key=lambda row: (not row.active, row.position, row.key))
    return answers.json([answers.symbol(row) for row in rows])


@api.get("/bars", summary="Closed bars, ascending: the newest, those before a time, or a range")
def bars(
    request: HttpRequest,
    symbol: str,
    interval: str = "1m",
    limit: Annotated[int, Query(ge=1, le=MOST_BARS)] = 500,
    before_ms: Moment = None,
    start_ms: Moment = None,
    end_ms: Moment = None,
) -> HttpResponse:
    """`bars` holds [open time in UTC ms, open, high, low, close, volume or null]; `more` says that the store has
    further bars on the side that was cut: older ones, or (with start_ms) newer ones within the range.

    An interval that is not stored (any number of minutes or hours, as in 10m or 6h, and 1d, 1w, 1M) is made of the
    coarsest stored one that fits into it."""
    if start_ms is not None and (before_ms is not None or (end_ms is not None and start_ms >= end_ms)):
        raise Rejected("start_ms must be before end_ms, and does not go with before_ms.")
    store = BarStore(Database())
    source = _source(store, symbol, parse_multiple(interval))
    if source is None:
        if not _known(symbol):
            raise HttpError(404, f"{symbol!r} is not a symbol of this platform.")
        found = Bars.empty()
    elif start_ms is None:
        found = source.last(limit + 1, min((ms for ms in (before_ms, end_ms) if ms is not None), default=None))
    else:
        found = _first(source, limit + 1, start_ms, end_ms)
    more = len(found) > limit
    cut = found[-limit:] if start_ms is None else found[:limit]
    return answers.json({"symbol": symbol, "interval": interval, "bars": answers.bar_rows(cut), "more": more})


def _source(store: BarStore, symbol: str, interval: Interval) -> Stored | Derived | None:
    series = store.find(symbol, interval) if interval.name in INTERVALS else None
    return Stored(store, series) if series else derived(store, symbol, interval)


def _first(source: Stored | Derived, count: int, start_ms: int, end_ms: int | None) -> Bars:
    """At least the first `count` bars of the range, where it has so many; not the years behind them."""
    parts: list[Bars] = []
    for part in source.iterate(start_ms, end_ms):
        parts.append(part)
        if sum(map(len, parts)) >= count:
            break
    return Bars.concat(parts)


@mongodb_errors()
def _known(symbol: str) -> bool:
    return Symbol.objects.filter(pk=symbol).exists()


@api.get("/gaps", summary="Trading time of a stored series whose bars are missing: nobody has received them yet")
def gaps(request: HttpRequest, symbol: str, interval: str, start_ms: Instant, end_ms: Instant) -> HttpResponse:
    """`gaps` holds [first open, last close, bars] of each stretch whose bars open in [start_ms, end_ms), ascending, in
    UTC ms; null where the trading hours are unknown. `more` says that further ones were cut off. Time in which the
    source had no trade is no gap, nor is time outside the trading hours."""
    step = parse_multiple(interval)
    days = GAP_DAYS if step.intraday else LONG_GAP_DAYS
    if not 0 < end_ms - start_ms <= days * DAY_MS:
        raise Rejected(f"start_ms must be before end_ms, by at most {days} days.")
    store = BarStore(Database())
    series = store.find(symbol, step) if step.name in INTERVALS else None
    if series is None and not _known(symbol):
        raise HttpError(404, f"{symbol!r} is not a symbol of this platform.")
    found = missing_bars(store, series, start_ms, end_ms, _now_ms()) if series else None
    rows = None if found is None else [(gap.start_ms, gap.end_ms, gap.bars) for gap in found[-MOST_GAPS:]]
    more = found is not None and len(found) > MOST_GAPS
    return answers.json({"symbol": symbol, "interval": interval, "gaps": rows, "more": more})


@api.get("/quotes", summary="The latest quotes of up to 1000 symbols, separated by commas; unknown ones are absent")
def quotes(request: HttpRequest, symbols: str) -> HttpResponse:
    """By symbol, each as on the live websocket."""
    wanted = list(dict.fromkeys(name for name in symbols.split(",") if name))
    if len(wanted) > MOST_SYMBOLS:
        raise Rejected(f"At most {MOST_SYMBOLS} symbols at once.")
    try:
        found = Cache.from_settings().quotes(wanted)
    except Unavailable:  # the database knows the last ones too
        found = {}
    return answers.json({name: msgspec.Raw(quote) for name, quote in _newest(wanted, found).items()})


class _Stamp(msgspec.Struct):
    ms: int


def _newest(wanted: list[str], streamed: Mapping[str, bytes]) -> dict[str, bytes]:
    """The database is asked for those that nobody streams at the moment."""
    stamps = {name: msgspec.json.decode(quote, type=_Stamp).ms for name, quote in streamed.items()}
    limit_ms = _now_ms() - STREAMED_MS
    old = [name for name in wanted if stamps.get(name, 0) < limit_ms]
    stored = QuoteStore(Database()).load(old) if old else {}
    newer = {
        name: encode_quote(quote, 0, at_ms) for name, (quote, at_ms) in stored.items() if at_ms > stamps.get(name, 0)
    }
    return {**streamed, **newer}


@api.get("/status", summary="The feed, the source, the upstream switch, the stores")
def status(request: HttpRequest) -> HttpResponse:
    """What cannot be asked at the moment is null."""
    try:
        feed, redis = Cache.from_settings().get_json(keys.FEED), True
    except Unavailable:
        feed, redis = None, False
    try:
        switch = upstream.state()
    except Unavailable:
        switch = None
    return answers.json(
        {
            "server_ms": _now_ms(),
            "source": settings.MARKETDATA_SOURCE,
            "simulated": settings.MARKETDATA_SOURCE == "simulator",
            "upstream": switch and {"on": switch.on, "why": switch.why},
            "feed": feed,
            "stores": {"mongodb": switch is not None, "redis": redis},
        }
    )


@api.post("/tickets", auth=account, summary="A ticket that opens one's live connections for a minute")
def tickets(request: HttpRequest) -> HttpResponse:
    """By session (with its CSRF token) or by API key. Sent as the first message of the websocket."""
    ticket = holders.ticket_for(request.auth)  # type: ignore[attr-defined]  # ninja's
    return answers.json({"ticket": ticket, "life_s": holders.TICKET_S})


@api.get("/{path:rest}", include_in_schema=False)
def nothing(request: HttpRequest, rest: str) -> HttpResponse:
    raise HttpError(404, f"There is no {rest!r} here, only symbols, bars, gaps, quotes, status and tickets.")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
