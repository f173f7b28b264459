"""Database: Django's own MongoDB connection for everything that is no model. Used by the stores beside it, the
scheduler and whoever needs a lease. One MongoClient per process, opened at its first use, never taken over a fork.

Driver errors become Unavailable, Rejected or Malformed in `mongodb_errors`, and nowhere else.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pymongo
from bson.codec_options import CodecOptions
from bson.errors import BSONError, InvalidBSON
from django.db import Error as DjangoDatabaseError
from django.db import connections
from django_mongodb_backend.base import DatabaseWrapper
from pymongo import errors
from pymongo.client_session import ClientSession
from pymongo.collection import Collection

from infrastructure.errors import InfrastructureError, Malformed, Rejected, Unavailable
from infrastructure.times import to_ms

Document = dict[str, Any]
T = TypeVar("T")

DUPLICATE_KEY = 11000
WRITE_CONFLICT = 112
_AWARE: CodecOptions[Document] = CodecOptions(tz_aware=True)
_UNAVAILABLE = (
    errors.ConnectionFailure,
    errors.CursorNotFound,
    errors.ExecutionTimeout,
    errors.WTimeoutError,
)
_TRANSIENT_LABELS = ("TransientTransactionError", "RetryableWriteError", "UnknownTransactionCommitResult")


@contextmanager
def mongodb_errors() -> Iterator[None]:
    """Around any use of a raw collection or of the ORM (also a decorator)."""
    try:
        yield
    except (errors.PyMongoError, BSONError) as error:
        raise translated(error) from error
    except DjangoDatabaseError as error:  # the ORM wraps some of them
        raise translated(error.__cause__ if isinstance(error.__cause__, Exception) else error) from error


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """`mongodb_errors`, and all calls in the block together are given up (Unavailable) after so long."""
    with mongodb_errors(), pymongo.timeout(seconds):
        yield


def translated(error: Exception) -> InfrastructureError:
    text = str(error).partition(", Timeout: ")[0]  # what follows repeats it for every known server
    if isinstance(error, _UNAVAILABLE) or _is_transient(error):
        return Unavailable(f"MongoDB does not answer: {text}")
    if isinstance(error, InvalidBSON | errors.ProtocolError):
        return Malformed(f"MongoDB sent what cannot be read: {text}")
    return Rejected(f"MongoDB refused: {text}")


def _is_transient(error: Exception) -> bool:
    if not isinstance(error, errors.PyMongoError):
        return False
    return getattr(error, "code", None) == WRITE_CONFLICT or any(map(error.has_error_label, _TRANSIENT_LABELS))


def only_duplicates(error: errors.BulkWriteError) -> None:
    """Returns where every failed write met another writer's document (and wanted to); raises the error otherwise."""
    details = error.details
    if details["writeConcernErrors"] or any(failed["code"] != DUPLICATE_KEY for failed in details["writeErrors"]):
        raise error


class Database:
    """Collections, server time, transactions and leases of one configured database."""

    def __init__(self, alias: str = "default") -> None:
        self._alias = alias

    @property
    def _connection(self) -> DatabaseWrapper:
        connection: Any = connections[self._alias]
        # Another thread may have closed the client (before a fork); this thread's wrapper would keep the dead one.
        if connection.connection is not connection._connection_pools.get(self._alias):
            _forget(connection)
        return connection

    def collection(self, name: str) -> Collection[Document]:
        """The raw collection; datetimes come back aware. Use it inside `mongodb_errors()`."""
        with mongodb_errors():
            return self._connection.database.get_collection(name, codec_options=_AWARE)

    @mongodb_errors()
    def ping(self) -> None:
        self._connection.database.command("ping")

    @mongodb_errors()
    def now_ms(self) -> int:
        """The server's clock: the one that several machines share."""
        return to_ms(self._connection.database.command("hello", codec_options=_AWARE)["localTime"])

    @mongodb_errors()
    def transaction(self, work: Callable[[ClientSession], T], *, deadline_s: float = 10) -> T:
        """What `work(session)` returns, committed. Each raw call inside must pass `session=session`.

        `work` may run several times: a transient error runs it again until the deadline, then it is Unavailable. Any
        other exception undoes it and is passed on.
        """
        self._connection.ensure_connection()
        with pymongo.timeout(deadline_s), self._connection.connection.start_session() as session:
            return session.with_transaction(work)

    def lease(self, name: str, owner: str, ttl_s: float, *, monotonic: Callable[[], float] = time.monotonic) -> "Lease":
        return Lease(self, name, owner, ttl_s, monotonic)


class Lease:
    """At most one owner at a time holds the lease called `name`, by the server's clock.

    `fence` grows with every grant, also to the same owner: whoever carries a smaller number has been replaced, even if
    it does not know yet.
    """

    def __init__(self, database: Database, name: str, owner: str, ttl_s: float, monotonic: Callable[[], float]) -> None:
        self.name = name
        self.owner = owner
        self.fence = 0
        self._database = database
        self._ttl = timedelta(seconds=ttl_s)
        self._monotonic = monotonic
        self._held_until = float("-inf")

    @property
    def held(self) -> bool:
        """False as soon as the lease may have run out by this machine's clock, also while MongoDB is away."""
        return self._monotonic() < self._held_until

    @mongodb_errors()
    def acquire(self) -> bool:
        """Takes the lease if it is free, has run out or is the same owner's; then `fence` is new."""
        asked = self._monotonic()
        taken = {"$and": [{"$ne": ["$owner", {"$literal": self.owner}]}, {"$gt": ["$expires_at", "$$NOW"]}]}
        grant = {
            "owner": {"$literal": self.owner},
            "fence": {"$add": [{"$ifNull": ["$fence", 0]}, 1]},
            "expires_at": self._expiry,
        }
        document: Any = self._collection.find_one_and_update(
            {"_id": self.name},
            [{"$set": {key: {"$cond": [taken, f"${key}", value]} for key, value in grant.items()}}],
            upsert=True,
            return_document=pymongo.ReturnDocument.AFTER,
        )
        granted: bool = document["owner"] == self.owner
        if granted:
            self.fence = document["fence"]
        return self._note(granted, asked)

    @mongodb_errors()
    def renew(self) -> bool:
        """False when the lease has run out or has a newer grant: stop, then acquire again."""
        asked = self._monotonic()
        result = self._collection.update_one(
            {**self._mine, "$expr": {"$gt": ["$expires_at", "$$NOW"]}}, [{"$set": {"expires_at": self._expiry}}]
        )
        return self._note(result.matched_count == 1, asked)

    @mongodb_errors()
    def release(self) -> None:
        """Free for the next owner at once; nothing happens if it is no longer held."""
        self._held_until = float("-inf")
        self._collection.update_one(self._mine, [{"$set": {"expires_at": "$$NOW"}}])

    @property
    def _collection(self) -> Collection[Document]:
        return self._database.collection("lease")

    @property
    def _mine(self) -> Document:
        return {"_id": self.name, "owner": self.owner, "fence": self.fence}

    @property
    def _expiry(self) -> Document:
        milliseconds = self._ttl // timedelta(milliseconds=1)
        return {"$dateAdd": {"startDate": "$$NOW", "unit": "millisecond", "amount": milliseconds}}

    def _note(self, held: bool, asked: float) -> bool:
        self._held_until = asked + self._ttl.total_seconds() if held else float("-inf")
        return held


def _forget(connection: DatabaseWrapper) -> None:
    """Drops the client without closing it; the next use opens another."""
    connection.connection = None
    connection.session = None
    connection.__dict__.pop("database", None)


def _forget_inherited_clients() -> None:
    """In a forked child: its parent's sockets are not its own, so the ORM must not use them either."""
    DatabaseWrapper._connection_pools.clear()
    for connection in connections.all(initialized_only=True):
        if isinstance(connection, DatabaseWrapper):
            _forget(connection)


os.register_at_fork(after_in_child=_forget_inherited_clients)
