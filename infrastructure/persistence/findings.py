"""FindingStore: what is wrong with somebody's data, where an operator sees it, in MongoDB. Intake, resampling and
rebases write it; the admin reads it through the `Finding` model, whose field names these are.

Bound: `MOST` findings, the ones seen longest ago go first; `BATCH` of one call, the rest are counted in its last one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateOne

from infrastructure.bars import Bar
from infrastructure.persistence.mongodb import Database, Document, mongodb_errors

logger = logging.getLogger(__name__)

NAME = "finding"
MOST = 50_000
SPARE = 1000  # deleted beyond that, so that not every call deletes
BATCH = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """About the bars from `first_ms` to `last_ms`; `values` holds [open, high, low, close, volume] of a single one."""

    kind: str
    symbol: str
    interval: str
    reason: str
    first_ms: int
    last_ms: int
    values: tuple[float, ...] = ()

    @classmethod
    def of_bar(cls, kind: str, symbol: str, interval: str, reason: str, bar: Bar) -> "Found":
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
        return cls(kind, symbol, interval, reason, bar.time_ms, bar.time_ms, values)


class FindingStore:
    def __init__(self, database: Database, most: int = MOST) -> None:
        self._database = database
        self._most = most

    @mongodb_errors()
    def note(self, findings: Sequence[Found]) -> None:
        """One document for each kind, series and time, whoever finds it how often. One round trip."""
        if not findings:
            return
        noted, beyond = findings[:BATCH], len(findings) - BATCH
        if beyond > 0:
            logger.error("%s: %s more findings are only counted here", noted[-1].symbol, beyond)
        collection = self._database.collection(NAME)
        collection.bulk_write([_upsert(one) for one in noted], ordered=False)
        too_many = collection.estimated_document_count() - self._most
        if too_many > min(SPARE, self._most):
            oldest = collection.find({}, {"_id": 1}).sort("seen_at", 1).limit(too_many)
            collection.delete_many({"_id": {"$in": [document["_id"] for document in oldest]}})


def _upsert(one: Found) -> UpdateOne:
    key = f"{one.symbol}@{one.interval}:{one.kind}:{one.first_ms}"
    fields: dict[str, Any] = {
        "kind": one.kind,
        "symbol": one.symbol,
        "interval": one.interval,
        "reason": one.reason,
        "first_ms": one.first_ms,
        "last_ms": one.last_ms,
        "values": list(one.values),
    }
    change: list[Document] = [
        {
            "$set": {
                **{name: {"$literal": value} for name, value in fields.items()},
                "seen": {"$add": [{"$ifNull": ["$seen", 0]}, 1]},
                "first_seen_at": {"$ifNull": ["$first_seen_at", "$$NOW"]},
                "seen_at": "$$NOW",
            }
        }
    ]
    return UpdateOne({"_id": key}, change, upsert=True)
