"""What a cluster says: one line per finished task; Django-Q's own lines only where an operator can use them."""

import logging
import time
from typing import Any

from django.db import Error as DjangoDatabaseError
from django_q.signals import post_execute_in_worker, pre_execute
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from infrastructure.errors import InfrastructureError

logger = logging.getLogger(__name__)

FORESEEN = (InfrastructureError, PyMongoError, RedisError, DjangoDatabaseError)
#: Errors whose text says all there is: the three kinds, and stores that are away.
PLAIN_KINDS = ("infrastructure.", "pymongo.errors.", "redis.exceptions.")
_begun = 0.0  # of the task this worker process runs


def install() -> None:
    """Before the workers are forked: they inherit it."""
    pre_execute.connect(_begin)
    post_execute_in_worker.connect(_tell)
    logging.getLogger("django-q").addFilter(useful)


def useful(record: logging.LogRecord) -> bool:
    """A filter: drops the failures that the worker has told already, and tracebacks of an absent store."""
    text = record.getMessage()
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, FORESEEN):
        record.msg, record.args, record.exc_info = f"{text}: {error}", None, None
    return not text.startswith("Failed '")


def _begin(**_: Any) -> None:
    global _begun
    _begun = time.monotonic()


def _tell(task: dict[str, Any], **_: Any) -> None:
    level, text = line(task, time.monotonic() - _begun)
    logger.log(level, "%s", text)


def line(task: dict[str, Any], seconds: float) -> tuple[int, str]:
    """(level, text) for a package of django_q whose `result` is what the task gave, or "error : traceback"."""
    name = task["func"] if task.get("group") in (None, task["func"]) else f"{task['group']} ({task['func']})"
    if task["success"]:
        return logging.INFO, f"{name} done in {seconds:.2f} s"
    message, _, traceback = str(task["result"]).partition(" : Traceback")
    kind = traceback.rstrip().removesuffix(f": {message}".rstrip()).rpartition("\n")[2]
    if kind.startswith(PLAIN_KINDS):
        return logging.ERROR, f"{name} failed after {seconds:.2f} s: {message}"
    return logging.ERROR, f"{name} failed after {seconds:.2f} s: {kind}: {message}\nTraceback{traceback.rstrip()}"
