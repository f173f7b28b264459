"""How often each address failed to get in lately. Used by the API and live, which share what this process has seen.

Bound: `addresses`, then the one that failed longest ago is forgotten.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable


class Attempts:
    """At most `limit` failures within `window_s`; further attempts are not looked at until the oldest has aged."""

    def __init__(self, limit: int, window_s: float, clock: Callable[[], float], addresses: int = 10_000) -> None:
        self._limit, self._window_s, self._clock, self._addresses = limit, window_s, clock, addresses
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def may_try(self, address: str) -> bool:
        with self._lock:
            failures = self._failures.get(address)
            return failures is None or len(failures) < self._limit or self._clock() - failures[0] > self._window_s

    def clear(self) -> None:
        with self._lock:
            self._failures.clear()

    def failed(self, address: str) -> None:
        with self._lock:
            failures = self._failures.setdefault(address, deque(maxlen=self._limit))
            failures.append(self._clock())
            self._failures.move_to_end(address)
            if len(self._failures) > self._addresses:
                self._failures.popitem(last=False)


LIMIT, WINDOW_S = 10, 60.0
of_this_process = Attempts(LIMIT, WINDOW_S, time.monotonic)
