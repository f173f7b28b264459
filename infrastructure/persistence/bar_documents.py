"""Bars ↔ MongoDB documents: which chunk a bar belongs to, what its document holds, how new bars change it. No I/O;
called by the BarStore.

    bar_chunk   _id "<series id>:<revision>:<start>" · series · revision · start_ms · end_ms (its range of times)
                n (bars in data) · rev (grows with each write) · data (bar_codec) · tail [[t, o, h, l, c, v], …]
    bar_series  _id (opaque, never changes) · symbol · interval · adjustment · session · revision · span_ms
                first_ms · last_ms · last [t, o, h, l, c, v] · updated_at; and what `revisions` keeps there

The tail holds bars that came one by one, in order of arrival: a later row replaces an earlier one, or one in `data`, of
the same time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Malformed, Rejected
from infrastructure.intervals import DAY_MS, Interval, parse_interval
from infrastructure.persistence import bar_codec
from infrastructure.persistence.mongodb import Document
from infrastructure.times import from_ms

MONDAY_MS = 4 * DAY_MS  # 1970-01-05: chunks of whole weeks begin with the week
WEEK_MS = 7 * DAY_MS
CHUNK_BARS = 12_000  # aimed at; whole weeks make it 8,000 to 16,000 where a week holds less than that
MOST_WEEKS = 5200  # a century: the longest chunk, of monthly bars
TAIL = 64  # rows; a longer tail is folded into data

#: Ids are sorted as texts, so each year must have four digits, also that of a chunk's start a century before its bars.
EARLIEST_MS = -30_610_224_000_000  # year 1000
LATEST_MS = 221_845_392_000_000  # year 9000


@dataclass(frozen=True, slots=True)
class Series:
    """One symbol's bars of one interval, adjustment and session, as its document said when it was read.

    `draft`: a revision in the making, which no reader gets; `rebased`: the source's prices differ from these by one
    factor, and nothing is written until they have been loaded anew.
    """

    id: str
    symbol: str
    interval: Interval
    adjustment: str
    session: str
    revision: int
    span_ms: int
    first_ms: int | None = None
    last_ms: int | None = None
    draft: bool = False
    rebased: float | None = None  # by this factor
    looked_up_s: float = field(default=float("-inf"), compare=False, repr=False)  # on the monotonic clock


@dataclass(frozen=True, slots=True)
class Written:
    """Bars that were not there, bars that were there with other values, and documents written for them."""

    new: int = 0
    corrected: int = 0
    documents: int = 0

    def __add__(self, other: "Written") -> "Written":
        return Written(self.new + other.new, self.corrected + other.corrected, self.documents + other.documents)


def span_of(bars_per_week: float) -> int:
    """Milliseconds of a chunk of a series with that many bars a week."""
    if not bars_per_week > 0:
        raise Rejected(f"A series cannot hold {bars_per_week} bars a week.")
    return WEEK_MS * min(max(round(CHUNK_BARS / bars_per_week), 1), MOST_WEEKS)


def series_of(document: Document, now_s: float) -> Series:
    return Series(
        document["_id"],
        document["symbol"],
        parse_interval(document["interval"]),
        document["adjustment"],
        document["session"],
        document["revision"],
        document["span_ms"],
        document["first_ms"],
        document["last_ms"],
        rebased=(document.get("rebase") or {}).get("factor"),
        looked_up_s=now_s,
    )


def chunk_start(series: Series, ms: int) -> int:
    return (ms - MONDAY_MS) // series.span_ms * series.span_ms + MONDAY_MS


def chunk_id(series: Series, start_ms: int) -> str:
    moment = from_ms(start_ms)
    day = f"{moment.year:04}{moment.month:02}{moment.day:02}"
    return f"{series.id}:{series.revision}:{day}T{moment.hour:02}{moment.minute:02}"


def id_range(series: Series, start_ms: int | None, end_ms: int | None) -> Document:
    """Condition on _id: chunks that may hold bars with start_ms <= time < end_ms."""
    prefix = f"{series.id}:{series.revision}:"
    low, high = prefix, prefix[:-1] + ";"  # the character after the colon
    if start_ms is not None:
        low = chunk_id(series, chunk_start(series, _clamped(start_ms)))
    if end_ms is not None:
        high = chunk_id(series, chunk_start(series, _clamped(end_ms - 1)))
    return {"$gte": low, "$lte": high}


def cleaned(bars: Bars) -> Bars:
    """The same in the store's types, strictly increasing: sorted if need be, the last of equal times kept.
    Rejected where columns differ in length or a time lies outside the years 1000 to 8999."""
    columns = [np.ascontiguousarray(column, np.float64) for column in bars.columns[1:]]
    times = np.ascontiguousarray(bars.time_ms, np.int64)
    if any(column.shape != (len(times),) for column in columns):
        raise Rejected("The columns of bars differ in length.")
    clean = Bars(times, *columns)
    if (times[1:] <= times[:-1]).any():
        order = np.argsort(times, kind="stable")
        order = order[np.append(times[order[1:]] > times[order[:-1]], True)]
        clean = clean[order]
    if len(clean):
        _check_time(int(clean.time_ms[0]))
        _check_time(int(clean.time_ms[-1]))
    return clean


def by_chunk(series: Series, bars: Bars) -> Iterator[tuple[int, Bars]]:
    """(start_ms of the chunk, its part of the bars), ascending."""
    at = 0
    while at < len(bars):
        start_ms = chunk_start(series, int(bars.time_ms[at]))
        end = at + int(np.searchsorted(bars.time_ms[at:], start_ms + series.span_ms))
        yield start_ms, bars[at:end]
        at = end


def row_of(bar: Bar) -> list[Any]:
    _check_time(bar.time_ms)
    return [int(bar.time_ms), *map(float, (bar.open, bar.high, bar.low, bar.close, bar.volume))]


def fixed_fields(series: Series, start_ms: int) -> Document:
    return {
        "series": series.id,
        "revision": series.revision,
        "start_ms": start_ms,
        "end_ms": start_ms + series.span_ms,
    }


def chunk_document(series: Series, start_ms: int, bars: Bars, rev: int) -> Document:
    return {
        "_id": chunk_id(series, start_ms),
        **fixed_fields(series, start_ms),
        "n": len(bars),
        "rev": rev,
        "data": bar_codec.encode(bars),
        "tail": [],
    }


def room(document: Document) -> int:
    """At most how many bars the document unpacks to. Malformed where its data says something else, before anybody
    allocates that much."""
    n, data = document["n"], document["data"]
    try:
        if (bar_codec.count(data) if data else 0) != n:
            raise Malformed("The number of bars is not that of its data.", repr(data))
    except Malformed as error:
        raise _damaged(document, error) from None
    return int(n) + len(document["tail"])


def unpack(document: Document) -> Bars:
    out = bar_codec.allocate(room(document))
    return out[: unpack_into(document, out, 0)]


def unpack_into(document: Document, out: Bars, at: int, start_ms: int | None = None, end_ms: int | None = None) -> int:
    """Writes the chunk's bars with start_ms <= time < end_ms to out[at:], where its `room` must be; gives how many.
    Malformed with the document's id where it is damaged."""
    if not document["tail"]:
        return _unpack_data(document, out, at, start_ms, end_ms)
    tail = _tail(document)
    n = _unpack_data(document, out, at, None, None)
    if n and tail.time_ms[0] <= out.time_ms[at + n - 1]:
        tail, n = merge(out[at : at + n], tail)[0], 0
    _put(tail, out, at + n)
    part = out[at : at + n + len(tail)].between(start_ms, end_ms)
    if start_ms is not None:
        _put(part, out, at)
    return len(part)


def _put(bars: Bars, out: Bars, at: int) -> None:
    for target, column in zip(out.columns, bars.columns, strict=True):
        target[at : at + len(bars)] = column


def _unpack_data(document: Document, out: Bars, at: int, start_ms: int | None, end_ms: int | None) -> int:
    if not document["n"]:
        return 0
    try:
        return bar_codec.decode_into(document["data"], out, at, start_ms, end_ms)
    except Malformed as error:
        raise _damaged(document, error) from None


def _damaged(document: Document, error: Malformed) -> Malformed:
    return Malformed(f"Bar chunk {document['_id']} is damaged: {error}", error.sample)


def _tail(document: Document) -> Bars:
    try:
        latest = {row[0]: row for row in document["tail"]}
        columns = list(zip(*(latest[time] for time in sorted(latest)), strict=True))
        time_ms, *values = np.array(columns[0], np.int64), *(np.array(column, np.float64) for column in columns[1:])
        return Bars(time_ms, *values)
    except (ValueError, TypeError, LookupError) as error:
        raise _damaged(document, Malformed(f"Its tail is no list of bars: {error}", repr(document["tail"]))) from None


def merge(old: Bars, new: Bars) -> tuple[Bars, int, int]:
    """Union by time, `new` wins, both strictly increasing; how many times are new, how many bars differ in any bit.
    With (…, 0, 0) it is `old` itself."""
    if not len(new):
        return old, 0, 0
    if not len(old):
        return new, len(new), 0
    if new.time_ms[0] > old.time_ms[-1]:
        return Bars.concat([old, new]), len(new), 0
    at, known, where = _places(old.time_ms, new.time_ms)
    differs = np.zeros(len(new), np.bool_)[known]
    for before, after in zip(old.columns[1:], new.columns[1:], strict=True):
        differs |= _bits(before[where]) != _bits(after[known])
    fresh, corrected = len(new) - len(differs), int(differs.sum())
    if not fresh and not corrected:
        return old, 0, 0
    columns = []
    for before, after in zip(old.columns, new.columns, strict=True):
        column = before.copy()
        column[where] = after[known]
        columns.append(np.insert(column, at[~known], after[~known]) if fresh else column)
    return Bars(*columns), fresh, corrected


def _places(old: NDArray[np.int64], new: NDArray[np.int64]) -> tuple[NDArray[np.int64], Any, Any]:
    """Of new times among old ones: where each belongs, which of them are there, and where those are."""
    first = int(np.searchsorted(old, new[0]))
    stretch = slice(first, first + len(new))
    if np.array_equal(old[stretch], new):  # a page that came before: nothing to search, nothing to copy
        return new[:0], slice(None), stretch
    at = np.searchsorted(old, new)
    known = np.append(old, new[-1] + 1)[at] == new
    return at, known, at[known]


def _bits(column: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.ascontiguousarray(column).view(np.int64)


def _check_time(ms: int) -> None:
    if not EARLIEST_MS <= ms < LATEST_MS:
        raise Rejected(f"A bar at {ms} ms lies outside the years 1000 to 8999.")


def _clamped(ms: int) -> int:
    return min(max(ms, EARLIEST_MS), LATEST_MS)
