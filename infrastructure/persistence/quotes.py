"""QuoteStore: the last known state of each symbol in MongoDB, so that a lost Redis still shows a price and its age.
The feed saves it every few seconds; what starts without Redis's hash loads it. Names are those of the `Quote` model."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from infrastructure.persistence.mongodb import Database, Document, mongodb_errors, only_duplicates
from infrastructure.times import from_ms, to_ms
from infrastructure.tradingview.base import Quote


class QuoteStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    @mongodb_errors()
    def save(self, quotes: Iterable[tuple[Quote, int]], fence: int | None = None) -> None:
        """Pairs of (quote, updated_ms), in one round trip. What is stored with a later time stays as it is, and for a
        feed, which has a fencing number, what a newer one has claimed."""
        writes = []
        for quote, updated_ms in quotes:
            document = _document(quote, updated_ms)
            older: Document = {"_id": quote.symbol, "updated_at": {"$lte": document["updated_at"]}}
            if fence is not None:
                older |= _not_claimed_after(fence)
                document["fence"] = fence
            writes.append(UpdateOne(older, {"$set": document}, upsert=True))
        if writes:
            try:
                self._database.collection("quote").bulk_write(writes, ordered=False)
            except BulkWriteError as error:
                only_duplicates(error)  # not matched and not insertable: the stored one is newer, which is as good

    @mongodb_errors()
    def claim(self, fence: int) -> None:
        """From now on no feed with a smaller number changes what is stored, whatever it still believes."""
        self._database.collection("quote").update_many(_not_claimed_after(fence), {"$set": {"fence": fence}})

    @mongodb_errors()
    def load(self, symbols: Sequence[str] | None = None) -> dict[str, tuple[Quote, int]]:
        """(quote, updated_ms) by symbol, of all or of those asked for; a symbol never quoted is absent."""
        wanted: Document = {} if symbols is None else {"_id": {"$in": list(symbols)}}
        return {document["_id"]: _quote(document) for document in self._database.collection("quote").find(wanted)}


def _not_claimed_after(fence: int) -> Document:
    return {"fence": {"$not": {"$gt": fence}}}


def _document(quote: Quote, updated_ms: int) -> Document:
    document = asdict(quote)
    del document["symbol"]  # the _id
    last_ms = document.pop("last_ms")
    document["last_at"] = None if last_ms is None else from_ms(last_ms)
    document["updated_at"] = from_ms(updated_ms)
    return document


def _quote(document: Document) -> tuple[Quote, int]:
    fields: dict[str, Any] = {key: value for key, value in document.items() if key in Quote.__dataclass_fields__}
    last_at = document.get("last_at")
    fields["last_ms"] = None if last_at is None else to_ms(last_at)
    return Quote(symbol=document["_id"], **fields), to_ms(document["updated_at"])
