"""Revisions of a bar series: a whole history is loaded beside the one that is read, and replaces it at once. Used by
the BarStore for every write, and by whoever reloads a series whose source has rebased its prices.

Fields of a `bar_series` document:

    revision          what readers get · newest_revision the highest number ever given
    draft             the revision being made, if any · rebase {factor, noticed_at} while the present one must not grow
    retired           [{revision, at, dead}]: replaced or abandoned; swept away once nobody can still be reading it

A `Series` held across a switch can be read for `GRACE_S`, in whole as it was; afterwards, and when it is written to,
that is `Replaced`: look it up again.
"""

import time
from dataclasses import replace

import pymongo
from pymongo.collection import Collection

from infrastructure.errors import Unavailable
from infrastructure.persistence import bar_documents
from infrastructure.persistence.bar_documents import Series
from infrastructure.persistence.mongodb import Database, Document, mongodb_errors

GRACE_S = 600.0  # what was replaced can be read for so long; no read takes nearly as long
SURE_S = GRACE_S / 2  # looked up more recently than that, a series needs no check
TRIES = 60  # of one change against other writers


class Replaced(Unavailable):
    """The series has a new revision, or is being loaded anew: look it up again, later in the second case."""


class Revisions:
    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def _series(self) -> Collection[Document]:
        return self._database.collection("bar_series")

    @property
    def _chunks(self) -> Collection[Document]:
        return self._database.collection("bar_chunk")

    # --- Making one -------------------------------------------------------------------------------------------------

    @mongodb_errors()
    def mark(self, series: Series, factor: float) -> bool:
        """The source's prices differ from the stored ones by that factor: nothing more is written to this revision.
        False where it is marked already, or replaced."""
        note = {"factor": factor, "noticed_at": "$$NOW"}
        wanted = {"_id": series.id, "revision": series.revision, "rebase": None}
        return self._series.update_one(wanted, [{"$set": {"rebase": note}}]).modified_count == 1

    @mongodb_errors()
    def begin(self, series: Series) -> Series:
        """An empty draft. One that was being made is abandoned: its writer is told so by its next write."""
        newest = {"$add": [{"$ifNull": ["$newest_revision", "$revision"]}, 1]}
        document = self._series.find_one_and_update(
            {"_id": series.id},
            [
                {"$set": {"newest_revision": newest, "retired": _retired("$draft")}},
                {"$set": {"draft": "$newest_revision"}},
            ],
            return_document=pymongo.ReturnDocument.AFTER,
        )
        if document is None:
            raise Replaced(f"There is no series of {series.symbol} {series.interval} any more.")
        return replace(_read(document), revision=document["draft"], draft=True, first_ms=None, last_ms=None)

    @mongodb_errors()
    def draft(self, series: Series) -> Series | None:
        """The one being made."""
        document = self._series.find_one({"_id": series.id, "draft": {"$ne": None}})
        if document is None:
            return None
        return replace(_read(document), revision=document["draft"], draft=True, first_ms=None, last_ms=None)

    @mongodb_errors()
    def switch(self, draft: Series) -> Series:
        """From this moment readers get the draft. Replaced where another one was begun meanwhile."""
        fields = {
            "revision": draft.revision,
            "draft": None,
            "rebase": None,
            **self._edges(draft),
            "retired": _retired("$revision"),
            "updated_at": "$$NOW",
        }
        document = self._series.find_one_and_update(
            {"_id": draft.id, "draft": draft.revision},
            [{"$set": fields}],
            return_document=pymongo.ReturnDocument.AFTER,
        )
        if document is None:
            raise _replaced(draft)
        return _read(document)

    @mongodb_errors()
    def sweep(self, grace_s: float = GRACE_S) -> int:
        """Deletes what nobody reads any more; how many revisions. Repeated after a crash it finishes what was begun."""
        old = {"$lt": ["$$one.at", {"$dateSubtract": {"startDate": "$$NOW", "unit": "second", "amount": int(grace_s)}}]}
        dead = {"$mergeObjects": ["$$one", {"dead": {"$or": ["$$one.dead", old if grace_s else True]}}]}
        marked = {"$map": {"input": "$retired", "as": "one", "in": dead}}
        self._series.update_many({"retired.0": {"$exists": True}}, [{"$set": {"retired": marked}}])
        swept = 0
        for document in self._series.find({"retired.dead": True}, {"retired": 1}):
            for one in document["retired"]:
                if one["dead"]:
                    self._delete(document["_id"], one["revision"])
                    swept += 1
        return swept

    def _delete(self, series_id: str, revision: int) -> None:
        prefix = f"{series_id}:{revision}"
        self._chunks.delete_many({"_id": {"$gte": f"{prefix}:", "$lt": f"{prefix};"}})
        self._database.collection("bar_coverage").delete_one({"_id": prefix})
        self._series.update_one({"_id": series_id}, {"$pull": {"retired": {"revision": revision}}})

    def _edges(self, series: Series) -> Document:
        """What a series says of its first and last bar."""
        first, last = self._edge(series, 1), self._edge(series, -1)
        return {"first_ms": first and first[0], "last_ms": last and last[0], "last": last and {"$literal": last}}

    def _edge(self, series: Series, direction: int) -> list[float] | None:
        """The first or last bar as a row."""
        wanted = {"_id": bar_documents.id_range(series, None, None)}
        for document in self._chunks.find(wanted, batch_size=1).sort("_id", direction):
            bars = bar_documents.unpack(document)
            if len(bars):
                return bar_documents.row_of(next(iter(bars[:1] if direction > 0 else bars[-1:])))
        return None

    # --- Guards of the BarStore -------------------------------------------------------------------------------------

    def current(self, series_ids: list[str]) -> dict[str, Document]:
        """What decides whether one may be written to, by the series's id."""
        fields = {"revision": 1, "draft": 1, "rebase": 1}
        found = self._series.find({"_id": {"$in": series_ids}}, fields, batch_size=len(series_ids) + 1)
        return {one["_id"]: one for one in found}

    def check_writable(self, series: Series) -> None:
        document = self.current([series.id]).get(series.id)
        if document is None or not _may_write(series, document):
            raise _replaced(series)

    def advance(self, series: Series, change: list[Document]) -> None:
        """Changes what the document says of its bars, if this is the revision it speaks of."""
        if not self._series.update_one({"_id": series.id, "revision": series.revision}, change).matched_count:
            self.check_writable(series)

    def tell_edges(self, series: Series) -> None:
        """What the document says of its first and last bar becomes true again, after bars were deleted."""
        names = ("revision", "first_ms", "last_ms", "last")
        for _ in range(TRIES):
            said = self._series.find_one({"_id": series.id, "revision": series.revision}, dict.fromkeys(names, 1))
            if said is None:  # replaced: it told its own
                return
            if self._series.update_one(said, [{"$set": self._edges(series)}]).matched_count:
                return
        raise Unavailable(f"The bars of {series.symbol} {series.interval} are being written by others all the time.")

    def check_readable(self, series: Series) -> None:
        """After a read. A series that was looked up a short while ago cannot have been swept away."""
        if time.monotonic() - series.looked_up_s < SURE_S:
            return
        held = [{"revision": series.revision}, {"draft": series.revision}]
        retired = {"retired": {"$elemMatch": {"revision": series.revision, "dead": False}}}
        if self._series.find_one({"_id": series.id, "$or": [*held, retired]}, {"_id": 1}) is None:
            raise _replaced(series)


def _may_write(series: Series, document: Document) -> bool:
    if document.get("draft") == series.revision:
        return True
    return bool(document["revision"] == series.revision and document.get("rebase") is None)


def _retired(revision: str) -> Document:
    """What becomes of the field when that revision, if there is one, is given up."""
    one = {"revision": revision, "at": "$$NOW", "dead": False}
    present = {"$ifNull": ["$retired", []]}
    none = {"$eq": [{"$ifNull": [revision, None]}, None]}
    return {"$cond": [none, present, {"$concatArrays": [present, [one]]}]}


def _read(document: Document) -> Series:
    return bar_documents.series_of(document, time.monotonic())


def _replaced(series: Series) -> Replaced:
    return Replaced(f"The bars of {series.symbol} {series.interval} are being replaced, or were: try again.")
