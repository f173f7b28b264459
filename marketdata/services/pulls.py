"""New closed bars of the active symbols from the source into the bar store, once per schedule slot and interval.

What differs in the overlap is a correction; where all of it differs by one factor, the series is loaded anew.

Each pull starts a few bars before the point it has reached (the overlap notices corrections) and never looks at what
the feed has pushed meanwhile, so what was missed while the feed was away is filled. Repeating a pull changes nothing.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from infrastructure.bars import Bars
from infrastructure.errors import InfrastructureError, Unavailable
from infrastructure.intervals import DAY_MS, Interval
from infrastructure.persistence import BarStore, Series, Written, mongodb_errors
from infrastructure.times import from_ms
from infrastructure.tradingview.base import SymbolInfo
from infrastructure.tradingview.budget import because
from infrastructure.tradingview.live_series import RECENT_BARS
from marketdata.models import BackfillJob, Pull, Symbol
from marketdata.providers import IDataProvider
from marketdata.services import backfill_jobs, coverage, hours, intake, rebasing, reloads, retention, symbols
from marketdata.services.series import series_of
from marketdata.services.upstream import UpstreamOff

logger = logging.getLogger(__name__)

OVERLAP_BARS = RECENT_BARS + 4  # more than the feed stores anew when it connects: the rest shows a rebase
OVERLAP_MS = 7 * DAY_MS  # not looked for further back, if bars are rare
FIRST_BARS = 300  # of a series that was never pulled
PULL_BARS = 4000  # a longer gap becomes a backfill: a pull ends within its slot
DEADLINE_S = 45.0  # of the 60 s a task may take; whoever was not reached is first in the next slot
UNAVAILABLE_IN_A_ROW = 2


@dataclass(slots=True)
class Pulled:
    """What one pull did; `left` were not reached in time."""

    asked: int = 0
    new: int = 0
    corrected: int = 0
    left: int = 0
    rebased: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def pull(
    provider: IDataProvider,
    bars: BarStore,
    interval: Interval,
    now_ms: int,
    *,
    only: frozenset[str] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> Pulled:
    """Of all active symbols that collect the interval, or of `only` these. Raises what concerns the whole source."""
    deadline = monotonic() + DEADLINE_S
    result = Pulled()
    away = 0
    waiting = _due(interval, now_ms, only)
    for place, (symbol, state) in enumerate(waiting):
        if monotonic() > deadline:
            result.left = len(waiting) - place
            logger.warning("%s: %s symbols must wait for the next pull", interval, result.left)
            break
        try:
            with because("pull"):
                _pull_one(provider, bars, symbol, interval, state, now_ms, result)
            away = 0
        except UpstreamOff:
            raise
        except InfrastructureError as error:
            _note_failure(state, error, now_ms, result)
            away = away + 1 if isinstance(error, Unavailable) else 0
            if away == UNAVAILABLE_IN_A_ROW:
                raise
    return result


@mongodb_errors()
def _due(interval: Interval, now_ms: int, only: frozenset[str] | None) -> list[tuple[Symbol, Pull]]:
    """Whoever may have a new closed bar, the one that has waited longest first."""
    states = {state.symbol: state for state in Pull.objects.filter(interval=interval.name)}
    found = []
    for symbol in Symbol.objects.filter(active=True) if only is None else Symbol.objects.filter(pk__in=only):
        if interval.name in symbol.collect_intervals:
            key = f"{symbol.key}@{interval}"
            state = states.get(symbol.key) or Pull(key=key, symbol=symbol.key, interval=interval.name)
            if only is not None or _may_have_more(symbol, state, interval, now_ms):
                found.append((symbol, state))
    return sorted(found, key=lambda one: (one[1].tried_at is not None, one[1].tried_at))


def _may_have_more(symbol: Symbol, state: Pull, interval: Interval, now_ms: int) -> bool:
    """False where the market has closed no bar since: a closed market costs no request."""
    newest_ms = _newest_closed_ms(symbol, interval, now_ms)
    if newest_ms is None or state.reached_ms is None:
        return True
    return newest_ms > max(state.reached_ms, state.asked_ms or 0)


def _newest_closed_ms(symbol: Symbol, interval: Interval, now_ms: int) -> int | None:
    """None where our clock and the symbol's hours cannot tell."""
    known = hours.of_symbol(symbol)
    return None if known is None else hours.newest_known_ms(known, interval, symbol.delay_s, now_ms)


def _pull_one(
    provider: IDataProvider,
    bars: BarStore,
    symbol: Symbol,
    interval: Interval,
    state: Pull,
    now_ms: int,
    result: Pulled,
) -> None:
    symbols.check_interval(symbol.key, interval, symbol.has_intraday)
    info = symbols.information(symbol.key, provider)
    series = series_of(bars, symbol.key, interval, info)
    if series.rebased is not None:
        reloads.ensure(series)
        _wait_for_reload(state, now_ms)
        return
    known = hours.of_info(info)
    count, start_ms = None, _overlapping(bars, series, state)
    if state.reached_ms is None or hours.bars_between(known, interval, state.reached_ms, now_ms) > PULL_BARS:
        if start_ms is not None:
            _leave_to_backfill(symbol, interval, start_ms, now_ms)
        count, start_ms = FIRST_BARS, retention.kept_from_ms(symbol, interval, now_ms)
    result.asked += 1
    pages = list(provider.pages(symbol.key, interval, bars=count, start_ms=start_ms))
    # In one write and in the order of time: a pull that dies between pages must not leave a hole behind its end.
    received = Bars.concat([intake.accept(page, symbol.key) for page in reversed(pages)])
    if factor := _factor(bars, series, state, received, info):
        reloads.start(bars, series, factor)
        result.rebased += 1
        _wait_for_reload(state, now_ms)
        return
    written = bars.write(series, received)
    coverage.note(series, pages, start_ms, count)
    newest_ms = hours.newest_closed_ms(known, interval, now_ms - info.delay_s * 1000 - coverage.SETTLE_MS)
    _note(state, received, written, newest_ms, now_ms)
    result.new += written.new
    result.corrected += written.corrected


def _note(state: Pull, received: Bars, written: Written, newest_ms: int | None, now_ms: int) -> None:
    if written.corrected:
        logger.warning("%s: %s closed bars were corrected by the source", state.key, written.corrected)
    state.bars += written.new + written.corrected
    state.corrected += written.corrected
    if len(received):
        state.reached_ms = max(state.reached_ms or 0, int(received.time_ms[-1]))
    if newest_ms is not None:
        state.asked_ms = max(state.asked_ms or 0, newest_ms)
    state.error = ""
    _save(state, now_ms)


def _factor(bars: BarStore, series: Series, state: Pull, received: Bars, info: SymbolInfo) -> float | None:
    """By which the source has rebased what came again of the bars pulled before; those that the feed has pushed since
    have the new prices."""
    if not len(received) or series.last_ms is None:
        return None
    until_ms = series.last_ms if state.reached_ms is None else state.reached_ms
    first_ms = int(received.time_ms[0])
    if first_ms > until_ms:
        return None
    return rebasing.factor(bars.read(series, first_ms, until_ms + 1), received, info.min_move / info.price_scale)


def _wait_for_reload(state: Pull, now_ms: int) -> None:
    state.error = "The source has rebased its prices: the series is loaded anew."
    _save(state, now_ms)


def _overlapping(bars: BarStore, series: Series, state: Pull) -> int | None:
    """From where to ask, so that a few stored bars come again, however long the market rested between them."""
    if state.reached_ms is None:
        return None
    furthest_ms = state.reached_ms - max(OVERLAP_MS, OVERLAP_BARS * series.interval.length_ms)
    held = bars.last(series, OVERLAP_BARS, state.reached_ms + 1)
    return max(int(held.time_ms[0]) if len(held) else state.reached_ms, furthest_ms)


@mongodb_errors()
def _leave_to_backfill(symbol: Symbol, interval: Interval, start_ms: int, now_ms: int) -> None:
    """The gap is from now on a job's, whose state an operator sees; the pull goes on at the present."""
    logger.warning("%s %s: the gap since %s becomes a backfill", symbol.key, interval, from_ms(start_ms))
    job = BackfillJob(symbol=symbol.key, interval=interval.name, start_at=from_ms(start_ms), end_at=from_ms(now_ms))
    backfill_jobs.enqueue(job)


def _note_failure(state: Pull, error: InfrastructureError, now_ms: int, result: Pulled) -> None:
    logger.warning("%s: not pulled: %s", state.key, error)
    result.failed[state.symbol] = str(error)
    state.error = str(error)[:500]
    _save(state, now_ms)


@mongodb_errors()
def _save(state: Pull, now_ms: int) -> None:
    state.tried_at = from_ms(now_ms)
    state.save()
