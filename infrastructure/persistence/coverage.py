"""CoverageStore: which stretches of time of a bar series were asked for *and* received, so that "no trade" and "never
fetched" differ, and where its source ends. Written by whoever stores pages; read by the planner of backfills and by
`manage.py gaps`.

    bar_coverage   _id "<series id>:<revision>" · rev · ranges [[start_ms, end_ms), …] ascending and apart
                   ended "end" (the first bar there is) | "limit" (the plan's depth) | "" · ended_ms · ended_at

A range says that every bar that opens in it and that the source has is stored. Ranges are merged by compare-and-swap.
Bound: `MOST` ranges; beyond it the shortest are forgotten, which costs asking again and never claims too much.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from infrastructure.errors import Unavailable
from infrastructure.persistence.bar_documents import EARLIEST_MS, Series
from infrastructure.persistence.mongodb import Database, Document, mongodb_errors
from infrastructure.ranges import Range, Ranges, minus, united

NAME = "bar_coverage"
MOST = 2000
TRIES = 60
PAUSE_S = 0.005

Ended = Literal["", "end", "limit"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """`ended_ms`: the source had nothing before it when it was asked at `ended_at`."""

    ranges: Ranges = ()
    ended: Ended = ""
    ended_ms: int | None = None
    ended_at: datetime | None = None


class CoverageStore:
    def __init__(self, database: Database, *, most: int = MOST, random: Callable[[], float] = random.random) -> None:
        self._database = database
        self._most = most
        self._random = random

    @property
    def _collection(self) -> Collection[Document]:
        return self._database.collection(NAME)

    @mongodb_errors()
    def of(self, series: Series) -> Coverage:
        return _coverage(self._collection.find_one({"_id": _id(series)}))

    @mongodb_errors()
    def all(self, series: Sequence[Series]) -> dict[str, Coverage]:
        """By the id of the series, in one round trip."""
        wanted = {"_id": {"$in": [_id(one) for one in series]}}
        found = {one["_id"]: one for one in self._collection.find(wanted, batch_size=len(series) + 1)}
        return {one.id: _coverage(found.get(_id(one))) for one in series}

    @mongodb_errors()
    def add(self, series: Series, ranges: Sequence[Range], ended: Ended = "", ended_ms: int | None = None) -> None:
        """Received and stored. `ended`, if given, replaces what was known of the source's end."""
        end = {"ended": ended, "ended_ms": ended_ms} if ended else {}
        for attempt in range(TRIES):
            stored = self._collection.find_one({"_id": _id(series)})
            merged = self._bounded(united([*_coverage(stored).ranges, *ranges]))
            if stored is not None and merged == _coverage(stored).ranges and _says(stored, end):
                return
            if self._swap(series, stored, merged, end):
                return
            time.sleep(self._random() * PAUSE_S * min(attempt + 1, 10))
        raise Unavailable(f"The coverage of {series.symbol} {series.interval} is being written by others all the time.")

    @mongodb_errors()
    def cut(self, series: Series, before_ms: int) -> None:
        """What lies before is not kept, and counts as never fetched."""
        for attempt in range(TRIES):
            stored = self._collection.find_one({"_id": _id(series)})
            ranges = _coverage(stored).ranges
            left = minus(ranges, [(EARLIEST_MS, before_ms)])
            if left == ranges or self._swap(series, stored, left, {}):
                return
            time.sleep(self._random() * PAUSE_S * min(attempt + 1, 10))
        raise Unavailable(f"The coverage of {series.symbol} {series.interval} is being written by others all the time.")

    @mongodb_errors()
    def forget(self, series: Series) -> None:
        """Everything counts as never fetched."""
        self._collection.delete_one({"_id": _id(series)})

    def _bounded(self, ranges: Ranges) -> Ranges:
        if len(ranges) <= self._most:
            return ranges
        longest = sorted(ranges, key=lambda one: one[0] - one[1])[: self._most]
        return tuple(sorted(longest))

    def _swap(self, series: Series, stored: Document | None, ranges: Ranges, end: Document) -> bool:
        rev = stored["rev"] if stored else None
        fields: Document = {} if stored else {"ended": "", "ended_ms": None, "ended_at": None}
        fields |= {**end, "ended_at": "$$NOW"} if end else {}
        change = {"$set": {**fields, "ranges": [list(one) for one in ranges], "rev": (rev or 0) + 1}}
        try:
            told = self._collection.update_one({"_id": _id(series), "rev": rev}, [change], upsert=stored is None)
        except DuplicateKeyError:  # somebody was the first meanwhile
            return False
        return told.matched_count == 1 or told.upserted_id is not None


def _id(series: Series) -> str:
    return f"{series.id}:{series.revision}"


def _says(stored: Document, end: Document) -> bool:
    return all(stored[name] == value for name, value in end.items())


def _coverage(document: Document | None) -> Coverage:
    if document is None:
        return Coverage()
    ranges = tuple((int(start), int(end)) for start, end in document["ranges"])  # of the driver's own kind of integer
    return Coverage(ranges, document["ended"], document["ended_ms"], document["ended_at"])
