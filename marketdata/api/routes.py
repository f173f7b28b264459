"""GET symbols, bars, quotes, status. Errors are JSON `{"detail": sentence}` with the status that fits their kind."""

import time
from typing import Annotated

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI, Query
from ninja.errors import HttpError

from infrastructure.bars import Bars
from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable
from infrastructure.intervals import parse_interval
from infrastructure.persistence import BarStore, Cache, Database, QuoteStore, keys, mongodb_errors
from marketdata.api import answers
from marketdata.live.protocol import encode_quote
from marketdata.models import Symbol
from marketdata.services import upstream

MOST_BARS = 5000
MOST_SYMBOLS = 1000


def viewer(request: HttpRequest) -> bool:
    """A logged-in session, or anybody where the operator allows it: as on the live page."""
    return settings.ANONYMOUS_VIEWING or request.user.is_authenticated


api = NinjaAPI(title="Market data", version="1", docs_url=None, auth=viewer, urls_namespace="api-1")


@api.exception_handler(InfrastructureError)
def failure(request: HttpRequest, error: InfrastructureError) -> HttpResponse:
    """Unavailable 503, Malformed 502, Rejected 400."""
    status = 503 if isinstance(error, Unavailable) else 502 if isinstance(error, Malformed) else 400
    return api.create_response(request, {"detail": str(error)}, status=status)


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
    before_ms: int | None = None,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> HttpResponse:
    """`bars` holds [open time in UTC ms, open, high, low, close, volume or null]; `more` says that the store has
    further bars on the side that was cut: older ones, or (with start_ms) newer ones within the range."""
    if start_ms is not None and (before_ms is not None or (end_ms is not None and start_ms >= end_ms)):
        raise Rejected("start_ms must be before end_ms, and does not go with before_ms.")
    store = BarStore(Database())
    series = store.find(symbol, parse_interval(interval))
    if series is None:
        if not _known(symbol):
            raise HttpError(404, f"{symbol!r} is not a symbol of this platform.")
        found = Bars.empty()
    elif start_ms is None:
        found = store.last(series, limit + 1, before_ms if end_ms is None else end_ms)
    else:
        found = store.read(series, start_ms, end_ms)
    more = len(found) > limit
    cut = found[-limit:] if start_ms is None else found[:limit]
    return answers.json({"symbol": symbol, "interval": interval, "bars": answers.bar_rows(cut), "more": more})


@mongodb_errors()
def _known(symbol: str) -> bool:
    return Symbol.objects.filter(pk=symbol).exists()


@api.get("/quotes", summary="The latest quotes of up to 1000 symbols, separated by commas; unknown ones are absent")
def quotes(request: HttpRequest, symbols: str) -> HttpResponse:
    wanted = [name for name in symbols.split(",") if name]
    if len(wanted) > MOST_SYMBOLS:
        raise Rejected(f"At most {MOST_SYMBOLS} symbols at once.")
    try:
        found = Cache.from_settings().quotes(wanted)
    except Unavailable:  # the database knows the last ones too
        found = {}
    missing = [name for name in wanted if name not in found]
    stored = QuoteStore(Database()).load(missing) if missing else {}
    answer = {name: msgspec.Raw(json) for name, json in found.items()}
    answer |= {name: msgspec.Raw(encode_quote(quote, 0, at_ms)) for name, (quote, at_ms) in stored.items()}
    return answers.json(answer)


@api.get("/status", summary="The feed, the source, the upstream switch")
def status(request: HttpRequest) -> HttpResponse:
    try:
        feed = Cache.from_settings().get_json(keys.FEED)
    except Unavailable:
        feed = None
    switch = upstream.state()
    return answers.json(
        {
            "server_ms": time.time_ns() // 1_000_000,
            "source": settings.MARKETDATA_SOURCE,
            "simulated": settings.MARKETDATA_SOURCE == "simulator",
            "upstream": {"on": switch.on, "why": switch.why},
            "feed": feed,
        }
    )
