"""The scheduler's door to MongoDB: Django's own client, the database's clock, the driver's errors translated."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pymongo
from bson.errors import BSONError
from django.db import Error as DjangoDatabaseError
from django.db import connections
from pymongo.collection import Collection
from pymongo.errors import ConnectionFailure, CursorNotFound, ExecutionTimeout, PyMongoError, WTimeoutError

from infrastructure.errors import InfrastructureError, Rejected, Unavailable

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 200
TRANSIENT = ("RetryableWriteError", "TransientTransactionError")


def collection(name: str) -> Collection[dict[str, Any]]:
    """Opened on first use, in whichever process asks: nothing is held that could cross a fork."""
    found: Collection[dict[str, Any]] = _database()[name]
    return found


def server_now() -> datetime:
    """One clock for all clusters: the database's."""
    now: datetime = _database().command("hello")["localTime"]
    return now.replace(tzinfo=UTC)


def _database() -> Any:
    connection: Any = connections["default"]  # Django's stubs do not know the backend
    return connection.database


@contextmanager
def translated() -> Iterator[None]:
    """Turns errors of the driver, wrapped by Django's ORM or not, into Unavailable or Rejected."""
    try:
        yield
    except (PyMongoError, BSONError) as error:
        raise kind_of(error) from error
    except DjangoDatabaseError as error:
        raise kind_of(error.__cause__ or error) from error


def kind_of(error: BaseException) -> InfrastructureError:
    # The driver's text ends in a description of every server: the start of it says what happened.
    text = str(error).partition(", Timeout:")[0].partition(", full error:")[0][:MESSAGE_LIMIT] or type(error).__name__
    transient = isinstance(error, PyMongoError) and any(map(error.has_error_label, TRANSIENT))
    if transient or isinstance(error, ConnectionFailure | CursorNotFound | ExecutionTimeout | WTimeoutError):
        return Unavailable(f"MongoDB did not answer: {text}")
    return Rejected(f"MongoDB refused: {text}")


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """`translated`, and every call in the block together is given up after `seconds`."""
    with translated(), pymongo.timeout(seconds):
        yield


class Outage:
    """Says once that a store is away and once that it is back; a line per failed try would drown the log."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.lasts = False

    def failed(self, error: Exception) -> None:
        if not self.lasts:
            # Only what nobody foresaw is worth its traceback.
            foreseen = isinstance(error, InfrastructureError)
            logger.warning("%s: trying again until it answers", error, exc_info=None if foreseen else error)
        self.lasts = True

    def over(self) -> None:
        if self.lasts:
            logger.info("%s answers again", self.store)
        self.lasts = False
