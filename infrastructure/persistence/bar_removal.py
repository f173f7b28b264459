"""BarRemoval: what bar series take in MongoDB, and how one goes: with all its revisions, coverage and document. The
rest of a series's life is the BarStore's. Used by `marketdata.services.removal`."""

from collections.abc import Sequence
from dataclasses import dataclass

from infrastructure.persistence.bar_documents import Series
from infrastructure.persistence.mongodb import Database, Document, mongodb_errors


@dataclass(frozen=True, slots=True)
class Size:
    """`bars` of the present revision, where a streamed bar that replaces a stored one counts twice until it is folded;
    `documents` and `bytes` (uncompressed by the database) of all revisions."""

    bars: int = 0
    documents: int = 0
    bytes: int = 0


class BarRemoval:
    def __init__(self, database: Database) -> None:
        self._database = database

    @mongodb_errors()
    def sizes(self, series: Sequence[Series]) -> dict[str, Size]:
        """By the id of the series, in one round trip that reads all their documents."""
        if not series:
            return {}
        revisions = [{"case": {"$eq": ["$series", one.id]}, "then": one.revision} for one in series]
        present = {"$eq": ["$revision", {"$switch": {"branches": revisions, "default": None}}]}
        found = self._database.collection("bar_chunk").aggregate(
            [
                {"$match": {"$or": [{"_id": _of(one.id)} for one in series]}},
                {
                    "$group": {
                        "_id": "$series",
                        "bars": {"$sum": {"$cond": [present, {"$add": ["$n", {"$size": "$tail"}]}, 0]}},
                        "documents": {"$sum": 1},
                        "bytes": {"$sum": {"$bsonSize": "$$ROOT"}},
                    }
                },
            ]
        )
        sizes = {one["_id"]: Size(one["bars"], one["documents"], one["bytes"]) for one in found}
        return {one.id: sizes.get(one.id, Size()) for one in series}

    @mongodb_errors()
    def remove(self, series_id: str) -> None:
        """Its document first: from then on nobody who holds the series can begin to write to it. What a writer was
        adding at that moment stays behind, for a second call."""
        self._database.collection("bar_series").delete_one({"_id": series_id})
        for name in ("bar_chunk", "bar_coverage"):
            self._database.collection(name).delete_many({"_id": _of(series_id)})


def _of(series_id: str) -> Document:
    """The ids of what belongs to it, which begin with its own and a colon."""
    return {"$gte": f"{series_id}:", "$lt": f"{series_id};"}
