"""How fresh each symbol is, and the state of the whole in a few numbers, from reads whose cost does not grow with the
history. Used by the admin."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Count

from infrastructure.errors import InfrastructureError, Unavailable
from infrastructure.intervals import parse_interval
from infrastructure.persistence import Cache, Database, QuoteStore, mongodb_errors
from infrastructure.scheduling import JobScheduler, QueueSize
from marketdata.models import BackfillJob, Finding, Symbol
from marketdata.services import feed_state, hours, series, upstream
from marketdata.services.feed_state import FeedState
from marketdata.services.freshness import Freshness, of_bars, of_quote

WORST_FIRST = (Freshness.MISSING, Freshness.STALE, Freshness.FRESH)


@dataclass(frozen=True, slots=True)
class Kept:
    """One thing we hold of a symbol: the bars of an interval, or (interval "") its quote; `at_ms` of the newest."""

    interval: str
    freshness: Freshness
    at_ms: int | None


def kept(symbols: Iterable[Symbol], now_ms: int) -> dict[str, list[Kept]]:
    """By key, of all it is to stream and collect; in two round trips however many."""
    rows = list(symbols)
    newest = series.last_bars_ms(series.store())
    quotes = QuoteStore(Database()).load([row.key for row in rows])
    return {row.key: _kept(row, newest, quotes, now_ms) for row in rows}


def _kept(
    symbol: Symbol, newest: Mapping[tuple[str, str], int], quotes: Mapping[str, tuple[Any, int]], now_ms: int
) -> list[Kept]:
    try:
        known = hours.of_symbol(symbol)
    except InfrastructureError:  # trading hours that nobody can read: what is missing still shows
        known = None
    found = []
    if symbol.stream_quotes:
        updated_ms = quotes[symbol.key][1] if symbol.key in quotes else None
        found.append(Kept("", of_quote(updated_ms, known, now_ms), updated_ms))
    for name in symbol.collect_intervals:
        last_ms = newest.get((symbol.key, name))
        found.append(Kept(name, of_bars(last_ms, known, parse_interval(name), symbol.delay_s, now_ms), last_ms))
    return found


def worst(found: Iterable[Kept]) -> Freshness:
    have = {one.freshness for one in found}
    return next((state for state in WORST_FIRST if state in have), Freshness.FRESH)


@dataclass(frozen=True, slots=True)
class Noticed:
    """`findings` counts those in its bars; `rebased` names intervals that wait to be loaded anew."""

    findings: int = 0
    rebased: tuple[str, ...] = ()


@mongodb_errors()
def noticed(symbols: Iterable[Symbol]) -> dict[str, Noticed]:
    """By key, in two round trips however many."""
    names = [row.key for row in symbols]
    findings = Counter(Finding.objects.filter(symbol__in=names).values_list("symbol", flat=True))
    rebased: dict[str, tuple[str, ...]] = {}
    for one in Database().collection("bar_series").find({"symbol": {"$in": names}, "rebase": {"$ne": None}}):
        rebased[one["symbol"]] = (*rebased.get(one["symbol"], ()), one["interval"])
    return {key: Noticed(findings[key], rebased.get(key, ())) for key in names}


@mongodb_errors()
def rebased(series_ids: list[str]) -> dict[str, float]:
    """Those that wait to be loaded anew, with the factor by which their source has multiplied its prices."""
    wanted = {"_id": {"$in": series_ids}, "rebase": {"$ne": None}}
    return {one["_id"]: one["rebase"]["factor"] for one in Database().collection("bar_series").find(wanted)}


@dataclass(frozen=True, slots=True)
class Overview:
    """None stands for what cannot be asked at the moment."""

    feed: FeedState | None
    switch: upstream.State | None
    symbols: dict[Freshness, int] | None
    jobs: dict[str, int] | None
    findings: dict[str, int] | None
    names: int | None
    queues: dict[str, QueueSize] | None
    failing: list[str] | None  # schedules whose last run failed


def overview(now_ms: int) -> Overview:
    feed: FeedState | None
    try:
        feed = feed_state.read(Cache.from_settings(), now_ms)
    except InfrastructureError:
        feed = None
    try:
        jobs = JobScheduler()
        failing = [one.name for one in jobs.schedules() if one.enabled and one.last_success is False]
        return Overview(
            feed, upstream.state(), _symbols(now_ms), _jobs(), _findings(), _names(), jobs.queue_sizes(), failing
        )
    except Unavailable:
        return Overview(feed, None, None, None, None, None, None, None)


@mongodb_errors()
def _symbols(now_ms: int) -> dict[Freshness, int]:
    states = Counter(map(worst, kept(Symbol.objects.filter(active=True), now_ms).values()))
    return {state: states[state] for state in WORST_FIRST if states[state]}


@mongodb_errors()
def _jobs() -> dict[str, int]:
    unfinished = ("failed", "paused", "running", "queued")
    states = Counter(BackfillJob.objects.filter(state__in=unfinished).values_list("state", flat=True))
    return {state: states[state] for state in unfinished if states[state]}


@mongodb_errors()
def _findings() -> dict[str, int]:
    """By kind; the collection is bounded."""
    counted = Finding.objects.order_by().values("kind").annotate(count=Count("pk")).order_by("kind")
    return {one["kind"]: one["count"] for one in counted}


@mongodb_errors()
def _names() -> int:
    return Symbol.objects.filter(active=True).exclude(note="").count()
