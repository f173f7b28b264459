"""The same work for several things at once, in threads of this process that each have a connection to the source. What
happens is told in one queue, so that one thread can show it. Used by `backfill_here` and `manage.py backfill --verify`.

Bounds: `MOST_AT_ONCE` threads, `TOLD` events that nobody has read; then the work waits.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from django.db import connections

from marketdata.providers import IDataProvider, get_provider

T = TypeVar("T")
Tell = Callable[[Any], None]

AT_ONCE = 2  # politely
MOST_AT_ONCE = 20
TOLD = 1000
STOP_S = 2.0  # for threads that are between two steps; the others end with the process
LOOK_S = 0.2


class Began:
    """The first event of a place."""


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """The last one; what raised an error has no result."""

    result: T | None = None
    error: Exception | None = None


class SideBySide(Generic[T]):
    """`work(place, provider, tell)` for each place from 0 to `count`, `at_once` of them at a time. In the block iterate
    for (place, event): Began, what the work tells, Ended. Leaving it ends the work."""

    def __init__(self, work: Callable[[int, IDataProvider, Tell], T], count: int, at_once: int) -> None:
        self.stop = threading.Event()
        self._work = work
        self._count = count
        self._places = iter(range(count))
        self._lock = threading.Lock()
        self._told: queue.Queue[tuple[int, Any]] = queue.Queue(TOLD)
        names = (f"series {n + 1}" for n in range(min(at_once, count, MOST_AT_ONCE)))
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Has the work stop where it can, and waits a moment for it. Nothing is told any more."""
        self.stop.set()
        deadline = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        left = self._count
        while left:
            place, event = self._told.get()
            left -= isinstance(event, Ended)
            yield place, event

    def _run(self) -> None:
        try:
            with get_provider() as provider:
                while not self.stop.is_set() and (place := self._next()) is not None:
                    self._tell(place, Began())
                    self._tell(place, self._ended(place, provider))
        finally:
            connections.close_all()

    def _next(self) -> int | None:
        with self._lock:
            return next(self._places, None)

    def _ended(self, place: int, provider: IDataProvider) -> Ended[T]:
        try:
            return Ended(self._work(place, provider, lambda event: self._tell(place, event)))
        except Exception as error:  # noqa: BLE001  one of them must not stop the others: whoever iterates says it
            return Ended(error=error)

    def _tell(self, place: int, event: Any) -> None:
        while not self.stop.is_set():
            with suppress(queue.Full):
                self._told.put((place, event), timeout=LOOK_S)
                return
