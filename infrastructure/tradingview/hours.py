"""Trading hours: turns session texts, holidays and corrections of `symbol_resolved` into stretches of UTC time, and
into the grid of bars expected in them. Pure; used by the chart session, the backfill, the feed and the simulator.

A *trading date* is the exchange's day that trades count for; an overnight session starts on the evening before it.
The grammar (TradingView's charting documentation and real payloads):

    24x7                          always open; a trading date is the zone's day
    0930-1600                     Monday to Friday; a part without days is for every weekday that no other part names
    0930-1130,1300-1500           several spans of a day
    0900-1630|0900-1400:2         parts with their days, 1 = Sunday … 7 = Saturday
    1700-1600, 2000-2000          start >= end: starts on the evening before; 1800F1-1700 says so itself (n days before)
    0930-0000                     until midnight
    1;0900-1630 or 0900-1630;1    the week starts on that day (Monday where nothing is said); matters to weekly bars
    0930-1300:20190703,20191129;dayoff:20250109      corrections: these dates trade like this, whatever else is said
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from infrastructure.errors import Malformed
from infrastructure.intervals import DAY_MS, MINUTE_MS, Interval

LOOK_AHEAD_DAYS = 40  # longer than any exchange's holidays: a market that does not open within it counts as dead
CACHE_DATES = 8192  # spans remembered per instance, about 2 MB; then forgotten as a whole and computed again

_DAY = timedelta(days=1)
_MINUTES = 24 * 60
_SPAN = re.compile(r"(\d\d)(\d\d)(?:F(\d))?-(\d\d)(\d\d)(?:F(\d))?")

#: Minutes from the midnight that starts the trading date to (start, end); negative on the days before it.
_Wall = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Span:
    """One continuous stretch of trading of a trading date: [open_ms, close_ms)."""

    date: date
    open_ms: int
    close_ms: int


@dataclass(frozen=True, slots=True)
class TradingHours:
    """Made by `parse`. Lookups far in the past or future cost as much as near ones; callers bound their ranges."""

    zone: ZoneInfo
    week: tuple[_Wall, ...]  # Monday first, as date.weekday() counts
    first_day: int  # of a week, as date.weekday() counts
    holidays: frozenset[date]
    corrections: dict[date, _Wall] = field(hash=False)
    back: int  # at most so many days before its trading date a session starts
    _cache: dict[date, tuple[Span, ...]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, session: str, timezone: str, holidays: Iterable[str] = (), corrections: str = "") -> Self:
        """Malformed, with the text, where it does not follow the grammar above or sessions overlap."""
        try:
            zone = ZoneInfo(timezone)
        except (ValueError, OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise Malformed(f"There is no time zone {timezone!r}.", timezone) from error
        week, first_day = _week(session)
        corrected = _corrections(corrections)
        starts = [start for wall in (*week, *corrected.values()) for start, _ in wall]
        back = max((-(start // _MINUTES) for start in starts), default=0)
        _refuse_overlaps(week, corrected, back, f"{session} / {corrections}")
        return cls(zone, week, first_day, frozenset(_date(day) for day in holidays if day), corrected, back)

    def spans_on(self, day: date) -> tuple[Span, ...]:
        """The spans of a trading date, ascending; () on holidays and days without trading."""
        found = self._cache.get(day)
        if found is None:
            if len(self._cache) >= CACHE_DATES:
                self._cache.clear()
            found = self._cache[day] = tuple(self._computed(day))
        return found

    def spans(self, start_ms: int, end_ms: int) -> list[Span]:
        """The spans that overlap [start, end), ascending."""
        return [
            span
            for day in self._days(start_ms, end_ms)
            for span in self.spans_on(day)
            if span.open_ms < end_ms and span.close_ms > start_ms
        ]

    def is_open(self, ms: int) -> bool:
        return self._span_at(ms) is not None

    def next_open_ms(self, ms: int) -> int | None:
        """The first opening after ms; None where none comes within 40 days, or trading never pauses (24x7)."""
        return next((start for start, _ in self._stretches(ms) if start > ms), None)

    def next_close_ms(self, ms: int) -> int | None:
        """The first closing after ms. Where one session ends as the next one starts, trading does not close."""
        limit = ms + LOOK_AHEAD_DAYS * DAY_MS
        return next((end for _, end in self._stretches(ms) if ms < end < limit), None)

    def bar_open_ms(self, ms: int, interval: Interval) -> int | None:
        """The open of the bar whose [open, close) contains ms; None where none does.

        Intraday bars restart at each span, so a lunch break is in no bar; a day, week or month reaches from its first
        session's open to its last session's close, breaks and nights included.
        """
        if not interval.intraday:
            found = self._period_at(ms, interval)
            return None if found is None else found[0]
        span = self._span_at(ms)
        return None if span is None else ms - (ms - span.open_ms) % interval.length_ms

    def bar_close_ms(self, open_ms: int, interval: Interval) -> int:
        """When the bar that opened then closes: a session's last bar may be short.

        Of a bar outside the hours (the source knows better than its own session text) the nominal length is taken;
        of such a day, week or month the close of the one that comes within a day.
        """
        if interval.intraday:
            span = self._span_at(open_ms)
            if span is None:
                return open_ms + interval.length_ms
            grid_open = open_ms - (open_ms - span.open_ms) % interval.length_ms
            return min(grid_open + interval.length_ms, span.close_ms)
        found = self._period_at(open_ms, interval) or self._period_at(self.next_open_ms(open_ms) or open_ms, interval)
        if found is None or found[0] - open_ms >= DAY_MS:
            return open_ms + interval.length_ms
        return found[1]

    def opens(self, start_ms: int, end_ms: int, interval: Interval) -> NDArray[np.int64]:
        """The open of every bar expected in [start, end), ascending: what a history without holes would hold."""
        if interval.intraday:
            table = np.array([(s.open_ms, s.close_ms) for s in self.spans(start_ms, end_ms)], np.int64).reshape(-1, 2)
            times = _grid(table[:, 0], table[:, 1], interval.length_ms)
        else:
            firsts = dict.fromkeys(self._first_date(day, interval) for day in self._days(start_ms, end_ms))
            periods = (self._period(first, interval) for first in firsts)
            times = np.array([found[0] for found in periods if found], np.int64)
        low, high = np.searchsorted(times, (start_ms, end_ms))
        return times[low:high]

    def bars_per_week(self, interval: Interval) -> float:
        """Bars of a week without holidays."""
        if interval.name == "1M":
            return 12 * 7 / 365.2425
        if interval.name == "1w":
            return 1.0
        if not interval.intraday:
            return float(sum(1 for wall in self.week if wall))
        minutes = interval.length_ms // MINUTE_MS
        return float(sum(-(-(end - start) // minutes) for wall in self.week for start, end in wall))

    def _computed(self, day: date) -> Iterator[Span]:
        wall = self.corrections.get(day)
        if wall is None:
            wall = () if day in self.holidays else self.week[day.weekday()]
        previous = -(2**63)
        for start, end in wall:
            # A time that a change to summer time skips counts an hour late, which may be after its own span's end.
            open_ms, close_ms = max(self._instant(day, start), previous), self._instant(day, end)
            if open_ms < close_ms:
                yield Span(day, open_ms, close_ms)
                previous = close_ms

    def _instant(self, day: date, minutes: int) -> int:
        local = datetime(day.year, day.month, day.day, tzinfo=self.zone) + timedelta(minutes=minutes)
        return int(local.timestamp()) * 1000

    def _local_date(self, ms: int) -> date:
        return datetime.fromtimestamp(ms // 1000, UTC).astimezone(self.zone).date()

    def _days(self, start_ms: int, end_ms: int) -> Iterator[date]:
        """Every trading date that may have trading in [start, end)."""
        day, last = self._local_date(start_ms), self._local_date(end_ms) + self.back * _DAY
        while day <= last:
            yield day
            day += _DAY

    def _span_at(self, ms: int) -> Span | None:
        return next(iter(self.spans(ms, ms + 1)), None)

    def _stretches(self, ms: int) -> Iterator[tuple[int, int]]:
        """Ascending (open, close) that end after ms, those that touch as one; looks 40 days ahead."""
        start, end = None, 0
        for span in self.spans(ms, ms + LOOK_AHEAD_DAYS * DAY_MS):
            if start is not None and span.open_ms > end:
                yield start, end
                start = None
            start, end = span.open_ms if start is None else start, span.close_ms
        if start is not None:
            yield start, end

    def _first_date(self, day: date, interval: Interval) -> date:
        """The first calendar day of the day, week or month that `day` is in."""
        if interval.name == "1M":
            return day.replace(day=1)
        return day - ((day.weekday() - self.first_day) % 7) * _DAY if interval.name == "1w" else day

    def _period(self, first: date, interval: Interval) -> tuple[int, int] | None:
        """(open, close) of the day, week or month that starts on that date; None where it has no trading."""
        days = (first + n * _DAY for n in range(interval.length_ms // DAY_MS + (interval.name == "1M")))
        inside = [
            span for day in days if day.month == first.month or interval.name != "1M" for span in self.spans_on(day)
        ]
        return (inside[0].open_ms, inside[-1].close_ms) if inside else None

    def _period_at(self, ms: int, interval: Interval) -> tuple[int, int] | None:
        for day in self._days(ms, ms):
            found = self._period(self._first_date(day, interval), interval)
            if found and found[0] <= ms < found[1]:
                return found
        return None


def _grid(opens: NDArray[np.int64], closes: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """open, open + step, … below close, of each pair in turn."""
    counts = -((opens - closes) // step)
    starts = np.repeat(opens - step * (np.cumsum(counts) - counts), counts)
    return starts + step * np.arange(counts.sum(), dtype=np.int64)


def _week(session: str) -> tuple[tuple[_Wall, ...], int]:
    """The walls of Monday … Sunday, and the first day of the week."""
    first_day = 0
    parts = [part.strip() for part in session.split(";")]
    if len(parts) == 2:
        mark = next((part for part in parts if part.isdecimal()), "")
        first_day = _weekday(mark, session)
        parts.remove(mark)
    if len(parts) != 1:
        raise Malformed(f"The trading session {session!r} cannot be read.", session)
    if parts[0].lower() == "24x7":
        return ((((0, _MINUTES)),),) * 7, first_day
    week: list[_Wall | None] = [None] * 7
    everyday: _Wall = ()
    for part in parts[0].split("|"):
        spans, colon, days = part.partition(":")
        wall = _wall(spans, session)
        if not colon:
            everyday = _joined(everyday, wall)
        for day in sorted({_weekday(digit, session) for digit in days}):
            week[day] = _joined(week[day] or (), wall)
        if colon and not days:
            raise Malformed(f"The trading session {session!r} names no day.", session)
    return tuple((everyday if n < 5 else ()) if wall is None else wall for n, wall in enumerate(week)), first_day


def _weekday(digit: str, sample: str) -> int:
    """1 = Sunday … 7 = Saturday, as date.weekday() counts."""
    if len(digit) != 1 or digit not in "1234567":
        raise Malformed(f"{digit!r} is no day of the week in {sample!r}.", sample)
    return (int(digit) + 5) % 7


def _wall(text: str, sample: str) -> _Wall:
    return _joined((), tuple(_span(span.strip(), sample) for span in text.split(",")))


def _joined(one: _Wall, other: _Wall) -> _Wall:
    return tuple(sorted(one + other))


def _span(text: str, sample: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(text)
    if not match:
        raise Malformed(f"{text!r} is no span of time in {sample!r}.", sample)
    hour, minute, back, end_hour, end_minute, end_back = (None if g is None else int(g) for g in match.groups())
    start, end = (hour or 0) * 60 + (minute or 0), (end_hour or 0) * 60 + (end_minute or 0)
    if max(start, end) > _MINUTES or max(minute or 0, end_minute or 0) > 59:
        raise Malformed(f"{text!r} is no span of time in {sample!r}.", sample)
    end = end or _MINUTES  # 0000 ends a span at the midnight after it, not at the one before
    start, end = start - _MINUTES * (back or 0), end - _MINUTES * (end_back or 0)
    if start >= end and back is None:
        start -= _MINUTES
    if not 0 < end - start <= 7 * _MINUTES:
        raise Malformed(f"{text!r} ends before it starts in {sample!r}.", sample)
    return start, end


def _corrections(text: str) -> dict[date, _Wall]:
    found: dict[date, _Wall] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        spans, _, days = part.partition(":")
        wall = () if spans == "dayoff" else _wall(spans, text)
        found.update((_date(day.strip()), wall) for day in days.split(","))
    return found


def _date(text: str) -> date:
    try:
        if len(text) != 8 or not text.isdecimal():
            raise ValueError
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise Malformed(f"{text!r} is no date of the form YYYYMMDD.", text) from None


def _refuse_overlaps(week: tuple[_Wall, ...], corrections: dict[date, _Wall], back: int, sample: str) -> None:
    """Overlapping sessions would put one moment into two bars."""
    ordinary = {date(2001, 1, 1) + n * _DAY for n in range(14)}
    near = {day + n * _DAY for day in corrections for n in range(-back - 1, back + 2)}
    minutes = [
        (day.toordinal() * _MINUTES + start, day.toordinal() * _MINUTES + end)
        for day in sorted(ordinary | near)
        for start, end in corrections.get(day, week[day.weekday()])
    ]
    if any(one[1] > other[0] for one, other in pairwise(minutes)):
        raise Malformed(f"Trading sessions overlap in {sample!r}.", sample)
