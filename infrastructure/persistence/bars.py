"""BarStore: OHLCV history in MongoDB, thousands of bars to a document. The feed pushes closed bars one by one, pulls
and backfills write pages; charts, the API and exports read columns. It owns the `bar_*` collections.

Any number of processes may write one series. A chunk is replaced only as it was read (compare-and-swap on `rev`), so
no writer undoes another; of two values for one bar the later write wins. Everything may be repeated.
"""

import base64
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, OperationFailure

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Unavailable
from infrastructure.intervals import Interval
from infrastructure.persistence import bar_codec, bar_documents, bar_writing
from infrastructure.persistence.bar_documents import TAIL, Series, Written
from infrastructure.persistence.bar_writing import PAUSE_S, TRIES, ChunkWriter
from infrastructure.persistence.mongodb import Database, Document, mongodb_errors
from infrastructure.persistence.revisions import Replaced, Revisions

logger = logging.getLogger(__name__)

WRITE_BATCH = 128  # chunks in memory at a time; each batch waits for the disk once
READ_BATCH = 8
NAMESPACE_EXISTS = 48
NAME = ("symbol", "interval", "adjustment", "session")
CONTENT = {"n": 1, "data": 1, "tail": 1}


class BarStore:
    def __init__(self, database: Database, *, random: Callable[[], float] = random.random) -> None:
        self._database = database
        self._random = random
        self._ensured = False

    @property
    def _chunks(self) -> Collection[Document]:
        return self._database.collection("bar_chunk")

    @property
    def _series(self) -> Collection[Document]:
        return self._database.collection("bar_series")

    @property
    def revisions(self) -> Revisions:
        return Revisions(self._database)

    @property
    def _writer(self) -> ChunkWriter:
        return ChunkWriter(self._chunks, self._random)

    # --- Series -----------------------------------------------------------------------------------------------------

    @mongodb_errors()
    def ensure(self) -> None:
        """Creates collections (zstd) and the index that names a series once; does nothing where they are there."""
        for collection in (self._chunks, self._series):
            try:
                collection.database.create_collection(
                    collection.name,
                    check_exists=False,
                    storageEngine={"wiredTiger": {"configString": "block_compressor=zstd"}},
                )
            except OperationFailure as error:
                if error.code != NAMESPACE_EXISTS:  # a hosted server may not let us choose: larger, but right
                    logger.warning("%s keeps the server's default compression: %s", collection.name, error)
        self._series.create_index([(field, 1) for field in NAME], unique=True)
        self._ensured = True

    @mongodb_errors()
    def series(
        self,
        symbol: str,
        interval: Interval,
        *,
        bars_per_week: float,
        adjustment: str = "splits",
        session: str = "regular",
    ) -> Series:
        """The series of that name; a new one is made for `bars_per_week` (nominal), which decides its chunks' span."""
        name = dict(zip(NAME, (symbol, interval.name, adjustment, session), strict=True))
        span_ms = bar_documents.span_of(bars_per_week)
        for _ in range(TRIES):
            if found := self._series.find_one(name):
                return bar_documents.series_of(found, time.monotonic())
            if not self._ensured:
                self.ensure()
            empty = dict.fromkeys(("first_ms", "last_ms", "last", "updated_at"))
            document = {"_id": self._new_id(), **name, "revision": 1, "span_ms": span_ms, **empty}
            try:
                self._series.insert_one(document)
                return bar_documents.series_of(document, time.monotonic())
            except DuplicateKeyError:  # somebody made it meanwhile, or the id is taken
                time.sleep(self._random() * PAUSE_S)
        raise Unavailable(f"The bar series of {symbol} {interval} could not be created.")

    @mongodb_errors()
    def find(
        self, symbol: str, interval: Interval, *, adjustment: str = "splits", session: str = "regular"
    ) -> Series | None:
        found = self._series.find_one(dict(zip(NAME, (symbol, interval.name, adjustment, session), strict=True)))
        return bar_documents.series_of(found, time.monotonic()) if found else None

    @mongodb_errors()
    def all_series(self) -> list[Series]:
        """By symbol; one document each, no bars."""
        documents = self._series.find().sort([("symbol", 1), ("_id", 1)])
        return [bar_documents.series_of(document, time.monotonic()) for document in documents]

    def _new_id(self) -> str:
        return base64.b32encode(int(self._random() * 2**40).to_bytes(5, "big")).decode().lower()

    # --- Writing ----------------------------------------------------------------------------------------------------

    @mongodb_errors()
    def write(self, series: Series, bars: Bars) -> Written:
        """Merges closed bars into the series: those given win, nothing else changes, equal ones cost no write.

        Bars may come in any order (the last of equal times counts). Chunk by chunk, so an error leaves the chunks
        before it written: repeat the call. In a race the counts of one and the same bar may be missing in both results.
        Replaced where the series has a newer revision, or waits for one.
        """
        bars = bar_documents.cleaned(bars)
        self.revisions.check_writable(series)
        parts = list(bar_documents.by_chunk(series, bars))
        written = Written()
        for start in range(0, len(parts), WRITE_BATCH):
            written += self._writer.merge(series, dict(parts[start : start + WRITE_BATCH]))
        if len(bars):
            newest = next(iter(bars[-1:]))
            advance = bar_writing.advance(int(bars.time_ms[0]), newest, changed=written.documents > 0)
            self.revisions.advance(series, advance)
        return written

    @mongodb_errors()
    def push(self, updates: Iterable[tuple[Series, Bar]]) -> None:
        """Appends closed bars as they come, without reading chunks: one round trip to see which revision each series
        has now, one for the chunks of all, one for what each says of its last bar. A bar pushed again, also with other
        values, replaces the earlier one. Bars of a series that waits to be loaded anew are left to that.

        Each bar has a chance of one in TAIL to fold its chunk, which keeps tails about that long without counting them,
        and lets series that close together fold at different times.
        """
        pushed = list(updates)
        for _ in range(TRIES):
            if not pushed:
                return
            pushed = self._push(self._redirected(pushed))
        raise Replaced("The series of pushed bars were replaced all the time.")

    def _redirected(self, pushed: list[tuple[Series, Bar]]) -> list[tuple[Series, Bar]]:
        """To the present revisions: a live bar has the present prices."""
        now = self.revisions.current(list({series.id for series, _ in pushed}))
        return [
            (replace(series, revision=now[series.id]["revision"]), bar)
            for series, bar in pushed
            if series.id in now and now[series.id].get("rebase") is None
        ]

    def _push(self, updates: list[tuple[Series, Bar]]) -> list[tuple[Series, Bar]]:
        """Gives back those whose series was replaced meanwhile."""
        rows: dict[str, list[list[Any]]] = {}
        fixed: dict[str, Document] = {}
        bars: dict[tuple[str, int], list[Bar]] = {}
        for series, bar in updates:
            row = bar_documents.row_of(bar)
            start_ms = bar_documents.chunk_start(series, bar.time_ms)
            chunk = bar_documents.chunk_id(series, start_ms)
            fixed[chunk] = bar_documents.fixed_fields(series, start_ms)
            rows.setdefault(chunk, []).append(row)
            bars.setdefault((series.id, series.revision), []).append(bar)
        if not rows:
            return []
        self._writer.append([bar_writing.append_to(chunk, rows[chunk], fixed[chunk]) for chunk in rows])
        told = self._series.bulk_write(
            [bar_writing.latest_of(*key, pushed) for key, pushed in bars.items()], ordered=False
        )
        for chunk in rows:
            if any(self._random() * TAIL < 1 for _ in rows[chunk]):
                self._writer.fold({"_id": chunk})
        if told.matched_count == len(bars):
            return []
        now = self.revisions.current([series_id for series_id, _ in bars])
        return [one for one in updates if one[0].id in now and now[one[0].id]["revision"] != one[0].revision]

    @mongodb_errors()
    def fold(self, series: Series) -> int:
        """Moves the series's tails into the compressed data; how many. One lost to another writer stays as it is."""
        return self._writer.fold({"_id": bar_documents.id_range(series, None, None), "tail.0": {"$exists": True}})

    @mongodb_errors()
    def drop_before(self, series: Series, ms: int) -> int:
        """Deletes the bars that open before that time; how many documents were deleted or rewritten for it."""
        edge = bar_documents.chunk_id(series, bar_documents.chunk_start(series, ms))
        older = {**bar_documents.id_range(series, None, None), "$lt": edge}
        dropped = self._chunks.delete_many({"_id": older}).deleted_count + self._writer.cut(edge, ms)
        if dropped or (series.first_ms is not None and series.first_ms < ms):  # somebody may have died before this
            self.revisions.tell_edges(series)
        return dropped

    # --- Reading ----------------------------------------------------------------------------------------------------

    @mongodb_errors()
    def read(self, series: Series, start_ms: int | None = None, end_ms: int | None = None) -> Bars:
        """Bars with start_ms <= time < end_ms; None leaves that side open."""
        wanted = bar_documents.id_range(series, start_ms, end_ms)
        documents = list(self._chunks.find({"_id": wanted}, CONTENT).sort("_id", 1))
        out = bar_codec.allocate(sum(map(bar_documents.room, documents)))
        at = 0
        for document in documents:
            at += bar_documents.unpack_into(document, out, at, start_ms, end_ms)
        self.revisions.check_readable(series)
        return out[:at]

    def iterate(self, series: Series, start_ms: int | None = None, end_ms: int | None = None) -> Iterator[Bars]:
        """The same in pieces of at most one chunk, ascending, for ranges larger than memory."""
        wanted = bar_documents.id_range(series, start_ms, end_ms)
        with mongodb_errors(), self._chunks.find({"_id": wanted}, CONTENT, batch_size=READ_BATCH) as documents:
            for document in documents.sort("_id", 1):
                part = bar_documents.unpack(document).between(start_ms, end_ms)
                self.revisions.check_readable(series)
                if len(part):
                    yield part
            self.revisions.check_readable(series)

    @mongodb_errors()
    def last(self, series: Series, n: int, before_ms: int | None = None) -> Bars:
        """The newest n bars (before that time), ascending; the length of the history costs nothing."""
        parts: list[Bars] = []
        missing, at_once = n, 2 + n // bar_documents.CHUNK_BARS
        wanted = bar_documents.id_range(series, None, before_ms)
        while missing > 0:
            found = list(self._chunks.find({"_id": wanted}, CONTENT).sort("_id", -1).limit(at_once))
            for document in found:
                if missing > 0:
                    parts.append(bar_documents.unpack(document).between(None, before_ms))
                    missing -= len(parts[-1])
            if len(found) < at_once:
                break
            wanted = {"$gte": wanted["$gte"], "$lt": found[-1]["_id"]}
        self.revisions.check_readable(series)
        return Bars.concat(parts[::-1])[max(-missing, 0) :]

    @mongodb_errors()
    def latest(self, series: Sequence[Series]) -> dict[str, Bar]:
        """The last bar of each series by its id, in one round trip; a series without bars is absent.

        Kept beside the chunks: of two different values written at once for one and the same newest bar it may show the
        other one, until the next bar.
        """
        wanted = {"_id": {"$in": [one.id for one in series]}, "last": {"$ne": None}}
        found = self._series.find(wanted, {"last": 1}, batch_size=len(series) + 1)  # else the server stops after 101
        return {document["_id"]: Bar(*document["last"]) for document in found}

    @mongodb_errors()
    def count(self, series: Series, start_ms: int | None = None, end_ms: int | None = None) -> int:
        """How many bars with start_ms <= time < end_ms. Exact; only chunks with a tail and those at the edges are
        unpacked for it."""
        wanted = {"_id": bar_documents.id_range(series, start_ms, end_ms)}
        told = {"n": 1, "start_ms": 1, "end_ms": 1, "tail": {"$slice": 1}}
        total, unclear = 0, []
        for one in self._chunks.find(wanted, told):
            begins_inside = start_ms is None or one["start_ms"] >= start_ms
            if begins_inside and (end_ms is None or one["end_ms"] <= end_ms) and not one["tail"]:
                total += one["n"]
            else:
                unclear.append(one["_id"])
        if unclear:
            for one in self._chunks.find({"_id": {"$in": unclear}}, CONTENT):
                total += len(bar_documents.unpack(one).between(start_ms, end_ms))
        self.revisions.check_readable(series)
        return total
