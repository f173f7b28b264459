"""The grammar of TradingView's session texts: turns `0930-1600:23456` and corrections into minutes of the day. Pure;
`TradingHours.parse` is its one caller.

A *trading date* is the exchange's day that trades count for; an overnight session starts on the evening before it.
From TradingView's charting documentation and real payloads:

    24x7                          always open; a trading date is the zone's day
    0930-1600                     Monday to Friday; a part without days is for every weekday that no other part names
    0930-1130,1300-1500           several spans of a day
    0900-1630|0900-1400:2         parts with their days, 1 = Sunday … 7 = Saturday
    1700-1600, 2000-2000          start >= end: starts on the evening before; 1800F1-1700 says so itself (n days before)
    0930-0000                     until midnight
    1;0900-1630 or 0900-1630;1    the week starts on that day (Monday where nothing is said); matters to weekly bars
    0930-1300:20190703,20191129;dayoff:20250109      corrections: these dates trade like this, whatever else is said
"""

import re
from collections.abc import Iterable
from datetime import date
from itertools import pairwise

from infrastructure.errors import Malformed

DAY_MINUTES = 24 * 60
_SPAN = re.compile(r"(\d\d)(\d\d)(?:F(\d))?-(\d\d)(\d\d)(?:F(\d))?", re.ASCII)
_DATE = re.compile(r"(?:19|2\d)\d{6}", re.ASCII)

#: Spans of a trading date: minutes from the midnight that starts it to (start, end); negative on the days before it.
Wall = tuple[tuple[int, int], ...]


def parse_week(session: str) -> tuple[tuple[Wall, ...], int]:
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
        return (((0, DAY_MINUTES),),) * 7, first_day
    week: list[Wall | None] = [None] * 7
    everyday: Wall = ()
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


def _wall(text: str, sample: str) -> Wall:
    return _joined((), tuple(_span(span.strip(), sample) for span in text.split(",")))


def _joined(one: Wall, other: Wall) -> Wall:
    return tuple(sorted(one + other))


def _span(text: str, sample: str) -> tuple[int, int]:
    match = _SPAN.fullmatch(text)
    if not match:
        raise Malformed(f"{text!r} is no span of time in {sample!r}.", sample)
    hour, minute, back, end_hour, end_minute, end_back = (None if g is None else int(g) for g in match.groups())
    start, end = (hour or 0) * 60 + (minute or 0), (end_hour or 0) * 60 + (end_minute or 0)
    if max(start, end) > DAY_MINUTES or max(minute or 0, end_minute or 0) > 59:
        raise Malformed(f"{text!r} is no span of time in {sample!r}.", sample)
    end = end or DAY_MINUTES  # 0000 ends a span at the midnight after it, not at the one before
    start, end = start - DAY_MINUTES * (back or 0), end - DAY_MINUTES * (end_back or 0)
    if start >= end and back is None:
        start -= DAY_MINUTES
    if not 0 < end - start <= 7 * DAY_MINUTES:
        raise Malformed(f"{text!r} ends before it starts in {sample!r}.", sample)
    return start, end


def parse_corrections(text: str) -> dict[date, Wall]:
    found: dict[date, Wall] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        spans, _, days = part.partition(":")
        wall = () if spans == "dayoff" else _wall(spans, text)
        found.update((parse_date(day.strip()), wall) for day in days.split(","))
    return found


def parse_date(text: str) -> date:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise Malformed(f"{text!r} is no date of the form YYYYMMDD.", text) from None


def refuse_overlaps(walls: Iterable[tuple[date, Wall]], sample: str) -> None:
    """Overlapping sessions would put one moment into two bars."""
    minutes = sorted(
        (day.toordinal() * DAY_MINUTES + start, day.toordinal() * DAY_MINUTES + end)
        for day, wall in walls
        for start, end in wall
    )
    if any(one[1] > other[0] for one, other in pairwise(minutes)):
        raise Malformed(f"Trading sessions overlap in {sample!r}.", sample)
