"""Which bars a request for history means: counts, ranges and named frames → bars as of now. Pure; run in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from infrastructure.bars import Bars
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS, Interval
from infrastructure.simulator.instrument import Instrument
from infrastructure.simulator.market import Market

DEFAULT_BARS = 300
_FRAME_DAYS = {"1D": 1, "5D": 5, "1M": 31, "3M": 92, "6M": 183, "12M": 365, "60M": 1826}
_WIRE = {interval.wire: interval for interval in INTERVALS.values()}
_ALIASES = {"1H": "60", "2H": "120", "3H": "180", "4H": "240", "D": "1D", "W": "1W", "M": "1M"}
_LATEST_SECONDS = 100_000_000_000  # beyond it a range is in milliseconds, which is not understood


@dataclass(frozen=True, slots=True)
class Request:
    """What the last two parameters of `create_series` ask for."""

    count: int = DEFAULT_BARS
    until_ms: int | None = None
    span_ms: tuple[int, int] | None = None
    frame: str = ""

    @classmethod
    def parse(cls, count: Any, frame: Any) -> Request:
        """What is not understood counts as absent, as with the real thing. Raises ValueError for no bars at all."""
        number, until_ms = DEFAULT_BARS, None
        if isinstance(count, list) and len(count) == 3 and count[0] == "bar_count":
            number, until_ms = int(count[2]), int(count[1]) * 1000
        elif isinstance(count, int | float):
            number = int(count)
        text = frame if isinstance(frame, str) else ""
        if number < 0 or (number == 0 and not text):
            raise ValueError(f"count {number}")
        return cls(number, until_ms, _span(text), text)


def _span(frame: str) -> tuple[int, int] | None:
    start, colon, end = frame.removeprefix("r,").partition(":")
    if not frame.startswith("r,") or not colon or not start.isdecimal() or not end.isdecimal():
        return None
    return None if int(start) > _LATEST_SECONDS else (int(start) * 1000, int(end) * 1000)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one answer and the whole of a series may hold."""

    page: int
    depth: int


@dataclass(frozen=True, slots=True)
class Floor:
    """The oldest bar there is to get, and why: the first one ever, or the plan's depth."""

    time_ms: int
    reason: Literal["end", "limit"]


@dataclass(frozen=True, slots=True)
class Window:
    bars: Bars
    live: bool  # its last bar is the newest there is
    left: int  # index in it of the first bar that the frame means


def resolution(text: str, item: Instrument, paid: bool) -> Interval | str:
    """The interval, or the reason of a `series_error`."""
    if text.endswith("S") and text[:-1].isdecimal():
        return f"unsupported resolution: {item.full_name}, {text}" if paid else "seconds_not_entitled"
    if text.endswith("T") and text[:-1].isdecimal():
        return "ticks_not_entitled"
    interval = _WIRE.get(_ALIASES.get(text, text))
    if interval is None and text.isdecimal() and 0 < int(text) < 1440:
        if not paid:
            return "custom_resolution"
        interval = Interval(f"{text}m", text, int(text) * MINUTE_MS)
    if interval is None or (interval.intraday and not item.has_intraday):
        return f"unsupported resolution: {item.full_name}, {text}"
    return interval


def floor(market: Market, item: Instrument, interval: Interval, limits: Limits, now_ms: int) -> Floor:
    first_ms = market.first_ms(item.name, interval)
    if not interval.intraday or limits.depth * interval.length_ms > now_ms - first_ms:
        return Floor(first_ms, "end")
    oldest_ms = int(market.history(item.name, interval, limits.depth, now_ms).time_ms[0])
    return Floor(oldest_ms, "limit" if oldest_ms > first_ms else "end")


def window(
    market: Market, item: Instrument, interval: Interval, request: Request, lowest: Floor, page: int, now_ms: int
) -> Window:
    name = item.name
    size = page if interval.intraday else 10**9
    if request.span_ms:
        return _range(market, item, interval, request.span_ms, lowest, size, now_ms)
    if request.until_ms is not None and request.until_ms < now_ms:
        bars = market.last(name, interval, min(request.count, size), request.until_ms + 1)
        return Window(bars.between(lowest.time_ms, None), False, 0)
    start_ms = _frame_start(market, item, request.frame, now_ms)
    if start_ms is None:
        bars = market.history(name, interval, min(request.count, size), now_ms)
        return Window(bars.between(lowest.time_ms, None), True, 0)
    inside = len(market.seen(name, interval, max(start_ms, lowest.time_ms), now_ms + 1, now_ms))
    bars = market.history(name, interval, min(max(request.count, inside), size), now_ms).between(lowest.time_ms, None)
    return Window(bars, True, max(0, len(bars) - inside))


def _range(
    market: Market,
    item: Instrument,
    interval: Interval,
    span_ms: tuple[int, int],
    lowest: Floor,
    page: int,
    now_ms: int,
) -> Window:
    """The edges are not strict: a bar before and a bar after come too."""
    start_ms, end_ms = max(span_ms[0], lowest.time_ms), min(span_ms[1], now_ms)
    before = market.last(item.name, interval, 1, start_ms).between(lowest.time_ms, None)
    inside = market.seen(item.name, interval, start_ms, end_ms + 1, now_ms)
    after = market.seen(item.name, interval, end_ms + 1, end_ms + 1 + 5 * max(interval.length_ms, DAY_MS), now_ms)[:1]
    bars = Bars.concat([before, inside, after])[-page:]
    newest = market.history(item.name, interval, 1, now_ms)
    live = len(bars) > 0 and bars.time_ms[-1] == newest.time_ms[-1]
    return Window(bars, bool(live), min(len(before), len(bars)))


def _frame_start(market: Market, item: Instrument, frame: str, now_ms: int) -> int | None:
    """None for a text that names no frame."""
    if frame in _FRAME_DAYS:
        return now_ms - _FRAME_DAYS[frame] * DAY_MS
    if frame == "ALL":
        return 0
    if frame == "YTD":
        return int(datetime(datetime.fromtimestamp(now_ms / 1000, UTC).year, 1, 1, tzinfo=UTC).timestamp() * 1000)
    if frame == "LASTSESSION":
        return int(market.history(item.name, INTERVALS["1d"], 1, now_ms).time_ms[0])
    return None
