"""Writes what a stream's connections say into a capture. Used by `runfeed --record`, as the stream's listener.

A thread of its own writes; the stream only takes a lock. Bound and loss: `backlog` characters wait for the disk, what
comes beyond them is not kept, and the capture says how many records are missing where they would stand. A file ends
at `limit_bytes`, because a capture can be played from its beginning alone. Whatever the disk does, the feed goes on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from infrastructure.replay.lines import Kind, Record, encode
from infrastructure.replay.redaction import Redactor
from infrastructure.times import from_ms
from infrastructure.tradingview.line import now_ms

logger = logging.getLogger(__name__)

LIMIT_BYTES = 2**30
BACKLOG = 64 * 2**20
RECORD_WEIGHT = 200  # what a record without a text counts in the backlog
DRAIN_S = 5.0


class Recorder:
    """A context manager; outside of it, and after the file has ended, what is heard is forgotten."""

    def __init__(
        self, path: Path, secrets: Iterable[str] = (), *, limit_bytes: int = LIMIT_BYTES, backlog: int = BACKLOG
    ) -> None:
        self._path = path
        self._redacted = Redactor(secrets)
        self._room = limit_bytes
        self._backlog = backlog
        self._news = threading.Condition()
        self._waiting: deque[Record] = deque()
        self._weight = 0
        self._lost = 0
        self._open = False
        self._began_s = 0.0
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def __enter__(self) -> Self:
        """A file that exists is never written to: it may be the only capture of a fault."""
        try:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            logger.error("%s cannot be made, nothing is recorded: %s", self._path, error.strerror)
            return self
        self._began_s, self._open = time.monotonic(), True
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._news:
            self._note_loss()
            self._open = False
            self._news.notify()
        if self._thread.ident is not None:
            self._thread.join(DRAIN_S)
        if self._thread.is_alive():
            logger.error("%s: the last records did not reach the disk in time", self._path)

    def __call__(self, connection: int, kind: Kind, text: str) -> None:
        with self._news:
            if not self._open:
                return
            weight = len(text) + RECORD_WEIGHT
            if self._weight + weight > self._backlog:
                self._lost += 1
                return
            self._note_loss()
            self._weight += weight
            self._put(connection, kind, text)

    def _note_loss(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            self._put(0, "!", str(lost))

    def _put(self, connection: int, kind: Kind, text: str) -> None:
        self._waiting.append(Record(time.monotonic() - self._began_s, now_ms(), connection, kind, text))
        self._news.notify()

    # --- the thread ---

    def _run(self) -> None:
        try:
            self._write(f"# capture 1, begun {from_ms(now_ms()):%Y-%m-%d %H:%M:%S} UTC\n".encode())
            while record := self._next():
                line = encode(replace(record, text=self._redacted(record.text))).encode()
                if len(line) > self._room:
                    raise OSError(0, "it has reached its limit")
                self._write(line)
        except OSError as error:
            logger.error("%s is not written any further: %s", self._path, error.strerror)
        finally:
            self._forget()
            os.close(self._file)

    def _next(self) -> Record | None:
        """None when it is time to stop."""
        with self._news:
            while not self._waiting and self._open:
                self._news.wait()
            if not self._waiting:
                return None
            record = self._waiting.popleft()
            self._weight -= 0 if record.kind == "!" else len(record.text) + RECORD_WEIGHT
            return record

    def _write(self, line: bytes) -> None:
        """Each line goes to the system at once: a kill loses what waits, and tears at most the last line."""
        self._room -= len(line)
        while line:
            line = line[os.write(self._file, line) :]

    def _forget(self) -> None:
        with self._news:
            self._open = False
            self._waiting.clear()
