"""What a cluster says of its tasks, and what it keeps of Django-Q's own lines."""

import logging
import traceback

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from infrastructure.errors import Unavailable
from infrastructure.scheduling.journal import line, useful


def failed(error: Exception) -> dict[str, object]:
    """As Django-Q's worker packs it."""
    try:
        raise error
    except type(error):
        text = f"{error} : {traceback.format_exc()}"
    return {"func": "some.pull", "group": "pull 1m", "success": False, "result": text}


def test_a_finished_task_is_one_line() -> None:
    package = {"func": "some.pull", "group": "some.pull", "success": True, "result": None}
    assert line(package, 0.123) == (logging.INFO, "some.pull done in 0.12 s")
    assert line({**package, "group": "pull 1m"}, 2) == (logging.INFO, "pull 1m (some.pull) done in 2.00 s")


@pytest.mark.parametrize("error", [Unavailable("The source is away."), ServerSelectionTimeoutError("refused")])
def test_a_foreseen_failure_is_one_line(error: Exception) -> None:
    assert line(failed(error), 1) == (logging.ERROR, f"pull 1m (some.pull) failed after 1.00 s: {error}")


@pytest.mark.parametrize("text", ["a: b", "two\nlines", ""])
def test_an_unforeseen_failure_brings_its_traceback(text: str) -> None:
    level, said = line(failed(ValueError(text)), 1)
    assert level == logging.ERROR
    assert said.startswith(f"pull 1m (some.pull) failed after 1.00 s: ValueError: {text}\nTraceback (most recent call")


def record(message: str, error: Exception | None = None) -> logging.LogRecord:
    info = (type(error), error, None) if error else None
    return logging.LogRecord("django-q", logging.ERROR, "", 0, message, None, info)


def test_what_the_worker_has_said_is_not_repeated() -> None:
    assert not useful(record("Failed 'some.pull' (name) - text : Traceback …"))
    assert useful(record("reincarnated worker Process-1 after death"))


def test_an_absent_store_is_one_line_and_a_bug_keeps_its_traceback() -> None:
    away = record("Could not save task result", ServerSelectionTimeoutError("refused"))
    assert useful(away)
    assert (away.getMessage(), away.exc_info) == ("Could not save task result: refused", None)
    bug = record("Could not save task result", ValueError("x"))
    assert useful(bug)
    assert bug.exc_info is not None
