"""Changes of bar chunks that survive other writers: compare-and-swap merges, appends to tails, folds. Called by the
BarStore inside `mongodb_errors`."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import InsertOne, ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Unavailable
from infrastructure.persistence import bar_codec, bar_documents
from infrastructure.persistence.bar_documents import TAIL, Series, Written
from infrastructure.persistence.mongodb import Document, only_duplicates

TRIES = 60  # of one write against others; with the pauses between them about a second and a half
PAUSE_S = 0.005
FOLD_BATCH = 8  # chunks in memory at a time


@dataclass(frozen=True, slots=True)
class _Change:
    """A chunk's next document, made from the one with `rev` (0: there was none)."""

    document: Document
    rev: int
    written: Written

    @property
    def operation(self) -> InsertOne[Document] | ReplaceOne[Document]:
        if not self.rev:
            return InsertOne(self.document)
        return ReplaceOne({"_id": self.document["_id"], "rev": self.rev}, self.document)

    def is_stored_in(self, document: Document | None) -> bool:
        return document is not None and all(document[key] == self.document[key] for key in ("rev", "data"))


class ChunkWriter:
    def __init__(self, chunks: Collection[Document], random: Callable[[], float]) -> None:
        self._chunks = chunks
        self._random = random

    def merge(self, series: Series, parts: dict[int, Bars]) -> Written:
        """Parts by the start of their chunk."""
        written = Written()
        sent: dict[int, _Change] = {}
        for attempt in range(TRIES):
            stored = self._stored(series, parts)
            written = sum((sent.pop(s).written for s in tuple(sent) if sent[s].is_stored_in(stored.get(s))), written)
            changes = {start: _change(series, start, part, stored.get(start)) for start, part in parts.items()}
            sent = {start: change for start, change in changes.items() if change}
            if not sent:
                return written
            if self._replace(sent.values()) == len(sent):
                return sum((change.written for change in sent.values()), written)
            parts = {start: parts[start] for start in sent}  # what got through changes nothing more
            time.sleep(self._random() * PAUSE_S * min(attempt + 1, 10))
        raise Unavailable(f"Bars of {series.symbol} {series.interval} are being written by others all the time.")

    def _stored(self, series: Series, starts: Iterable[int]) -> dict[int, Document]:
        ids = [bar_documents.chunk_id(series, start) for start in starts]
        return {document["start_ms"]: document for document in self._chunks.find({"_id": {"$in": ids}})}

    def _replace(self, changes: Iterable[_Change]) -> int:
        """How many of the changes met the document they were made from."""
        try:
            result = self._chunks.bulk_write([change.operation for change in changes], ordered=False)
        except BulkWriteError as error:
            only_duplicates(error)
            return int(error.details["nMatched"] + error.details["nInserted"])
        return result.matched_count + result.inserted_count

    def append(self, operations: list[UpdateOne]) -> None:
        """Those made by `append_to`, in one round trip."""
        for _ in range(TRIES):
            try:
                self._chunks.bulk_write(operations, ordered=False)
                return
            except BulkWriteError as error:  # two made the same new chunk at once: the loser appends to it
                only_duplicates(error)
                operations = [operations[failed["index"]] for failed in error.details["writeErrors"]]
        raise Unavailable("Pushed bars met other writers all the time.")

    def fold(self, which: Document) -> int:
        """How many of the chunks found by that condition were folded."""
        folded = 0
        for document in self._chunks.find(which, batch_size=FOLD_BATCH):
            folded += self._repack(document, bar_documents.unpack(document))
        return folded

    def cut(self, chunk: str, before_ms: int) -> int:
        """Removes the bars before that time from the chunk of that id; 1 where it had some. One that is empty then
        stays: a chunk that is made anew would begin with a `rev` that somebody may have read before."""
        for _ in range(TRIES):
            document = self._chunks.find_one({"_id": chunk})
            bars = bar_documents.unpack(document) if document else Bars.empty()
            kept = bars.between(before_ms, None)
            if document is None or len(kept) == len(bars):
                return 0
            if self._repack(document, kept):
                return 1
        raise Unavailable(f"The bar chunk {chunk} is being written by others all the time.")

    def _repack(self, document: Document, bars: Bars) -> int:
        """These bars instead of the document's; 0 where another writer came first."""
        change = {"n": len(bars), "data": bar_codec.encode(bars), "tail": []}
        same = {"_id": document["_id"], "rev": document["rev"]}
        return self._chunks.update_one(same, {"$set": change, "$inc": {"rev": 1}}).modified_count


def _change(series: Series, start_ms: int, part: Bars, stored: Document | None) -> _Change | None:
    """What merging the part makes of the stored chunk; None when that is the same."""
    old = bar_documents.unpack(stored) if stored else Bars.empty()
    merged, new, corrected = bar_documents.merge(old, part)
    if not new and not corrected and stored and len(stored["tail"]) < TAIL:
        return None
    rev = stored["rev"] if stored else 0
    document = bar_documents.chunk_document(series, start_ms, merged, rev + 1)
    return _Change(document, rev, Written(new, corrected, 1))


def append_to(chunk: str, rows: list[list[Any]], fixed: Document) -> UpdateOne:
    return UpdateOne(
        {"_id": chunk},
        {
            "$push": {"tail": {"$each": rows}},
            "$inc": {"rev": 1},
            "$setOnInsert": {**fixed, "n": 0, "data": b""},
        },
        upsert=True,
    )


def latest_of(series_id: str, revision: int, pushed: Sequence[Bar]) -> UpdateOne:
    newest = pushed[0]
    for bar in pushed[1:]:
        if bar.time_ms >= newest.time_ms:
            newest = bar
    change = advance(min(bar.time_ms for bar in pushed), newest, changed=True)
    return UpdateOne({"_id": series_id, "revision": revision}, change)


def advance(first_ms: int, newest: Bar, *, changed: bool) -> list[Document]:
    """Update of a series: its range grows to these times, `last` becomes `newest` unless a later one is known. Also
    when nothing was written: a process may have died between a chunk and this."""
    later = {"$gte": [newest.time_ms, {"$ifNull": ["$last_ms", newest.time_ms]}]}
    fields: Document = {
        "first_ms": {"$min": ["$first_ms", first_ms]},
        "last_ms": {"$max": ["$last_ms", newest.time_ms]},
        "last": {"$cond": [later, {"$literal": bar_documents.row_of(newest)}, "$last"]},
    }
    return [{"$set": {**fields, "updated_at": "$$NOW"} if changed else fields}]
