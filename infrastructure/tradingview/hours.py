"""Trading hours: turns the session text, holidays and corrections of a symbol into stretches of UTC time, and into the
grid of bars expected in them. Pure; used by the chart session, the backfill, the feed and the simulator.

`session_texts.py` has the grammar. A *trading date* is the exchange's day that trades count for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from infrastructure.errors import Malformed
from infrastructure.intervals import DAY_MS, MINUTE_MS, Interval
from infrastructure.tradingview.session_texts import (
    DAY_MINUTES,
    Wall,
    parse_corrections,
    parse_date,
    parse_week,
    refuse_overlaps,
)

LOOK_AHEAD_DAYS = 40  # longer than any exchange's holidays: a market that does not open within it counts as dead
CACHE_DATES = 1024  # spans remembered per instance, about 300 kB; then forgotten as a whole and computed again

_DAY = timedelta(days=1)
_OPEN_MS = attrgetter("open_ms")
_MONDAY = date(2001, 1, 1)  # any: two weeks from it show whether the sessions of a week overlap


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
    week: tuple[Wall, ...]  # Monday first, as date.weekday() counts
    first_day: int  # of a week, as date.weekday() counts
    holidays: frozenset[date]
    corrections: dict[date, Wall] = field(hash=False)
    back: int  # at most so many days before its trading date a session starts
    _cache: dict[date, tuple[Span, ...]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def parse(cls, session: str, timezone: str, holidays: Iterable[str] = (), corrections: str = "") -> Self:
        """Malformed, with the text, where it does not follow the grammar or sessions overlap."""
        try:
            zone = ZoneInfo(timezone)
        except (ValueError, OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise Malformed(f"There is no time zone {timezone!r}.", timezone) from error
        week, first_day = parse_week(session)
        corrected = parse_corrections(corrections)
        starts = [start for wall in (*week, *corrected.values()) for start, _ in wall]
        back = max((-(start // DAY_MINUTES) for start in starts), default=0)
        closed = frozenset(parse_date(day) for day in holidays if day)
        hours = cls(zone, week, first_day, closed, corrected, back)
        refuse_overlaps([(_MONDAY + n * _DAY, week[n % 7]) for n in range(14)], session)
        near = {day + n * _DAY for day in corrected for n in range(-back - 1, back + 2)}
        refuse_overlaps([(day, hours._wall_on(day)) for day in near], corrections)
        return hours

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
        found = [
            span
            for day in self._days(start_ms, end_ms)
            for span in self.spans_on(day)
            if span.open_ms < end_ms and span.close_ms > start_ms
        ]
        found.sort(key=_OPEN_MS)  # a special Saturday may lie inside a Monday that begins on Friday evening
        return found

    def is_open(self, ms: int) -> bool:
        return self._span_at(ms) is not None

    def next_open_ms(self, ms: int) -> int | None:
        """The first opening after ms; None where none comes within 40 days, or trading never pauses (24x7)."""
        closed_at = ms
        for span in self.spans(ms, ms + LOOK_AHEAD_DAYS * DAY_MS):
            if span.open_ms > closed_at:  # where one session ends as the next one starts, trading does not close
                return span.open_ms
            closed_at = max(closed_at, span.close_ms)
        return None

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
            times = np.array(sorted(found[0] for found in periods if found), np.int64)
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

    def _wall_on(self, day: date) -> Wall:
        wall = self.corrections.get(day)
        if wall is None:
            wall = () if day in self.holidays else self.week[day.weekday()]
        return wall

    def _computed(self, day: date) -> Iterator[Span]:
        previous = -(2**63)
        for start, end in self._wall_on(day):
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

    def _first_date(self, day: date, interval: Interval) -> date:
        """The first calendar day of the day, week or month that `day` is in."""
        if interval.name == "1M":
            return day.replace(day=1)
        return day - ((day.weekday() - self.first_day) % 7) * _DAY if interval.name == "1w" else day

    def _period(self, first: date, interval: Interval) -> tuple[int, int] | None:
        """(open, close) of the day, week or month that starts on that date; None where it has no trading."""
        after = (
            (first + 31 * _DAY).replace(day=1) if interval.name == "1M" else first + interval.length_ms // DAY_MS * _DAY
        )
        inside = [span for n in range((after - first).days) for span in self.spans_on(first + n * _DAY)]
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
