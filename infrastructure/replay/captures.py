"""Reads a capture from a file, record by record. Used by `provider` and `stream`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from infrastructure.errors import Malformed, Rejected
from infrastructure.replay.lines import Record, decode
from infrastructure.tradingview import frames
from infrastructure.tradingview.connection import MAX_MESSAGE_BYTES
from infrastructure.tradingview.line import now_ms

logger = logging.getLogger(__name__)

#: A text and what stands before it, written as a JSON string if it must be.
MAX_LINE_BYTES = 2 * MAX_MESSAGE_BYTES


def read(path: Path) -> Iterator[Record]:
    """In the order in which they were written. Malformed, with the number of the line, where a line is none.

    A last line that was torn off, as by a kill of its recorder, is left out and logged. A file that is one JSON list of
    texts is read as well: they came in. Rejected where there is no file, or it must not be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(1)
            file.seek(0)
            if start == b"[":
                yield from _texts(file.read(MAX_LINE_BYTES + 1), path)
                return
            yield from _records(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), path)
    except OSError as error:
        raise Rejected(f"The recording {path} cannot be read: {error.strerror or error}.") from error


def _records(lines: Iterator[bytes], path: Path) -> Iterator[Record]:
    opened_ms, at_s = now_ms(), 0.0
    for number, line in enumerate(lines, 1):
        try:
            if len(line) > MAX_LINE_BYTES:
                raise Malformed("it is too long")
            record = _record(line, opened_ms, number)
            if record is not None and record.at_s < at_s:
                raise Malformed("its time is before that of an earlier one")
        except Malformed as error:
            if not line.endswith(b"\n") and number > 1:
                logger.warning("%s: the last line, %d, was torn off and is left out", path, number)
                return
            raise Malformed(f"{path}, line {number}: {error}", error.sample) from error
        if record is not None:
            at_s = record.at_s
            yield record


def _record(line: bytes, opened_ms: int, number: int) -> Record | None:
    try:
        text = line.removesuffix(b"\n").decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"no text: {error}", repr(line)) from None
    if not line.endswith(b"\n") and not text.startswith(frames.MARK):
        raise Malformed("it has no end", text)
    return decode(text, opened_ms, number)


def _texts(data: bytes, path: Path) -> Iterator[Record]:
    opened_ms = now_ms()
    try:
        texts = json.loads(data[:MAX_LINE_BYTES])
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{path}, line 1: neither a capture nor a list of texts: {error}", repr(data)) from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Malformed(f"{path}, line 1: a list of other things than texts", repr(data))
    for text in texts:
        yield Record(0.0, opened_ms, 0, "<", text)
