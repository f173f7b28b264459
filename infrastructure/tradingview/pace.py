"""The smallest pause between two history requests of one process, whoever asks. Used by `provider`, and by the budget
of all processes while Redis is away."""

import threading
import time
from collections.abc import Callable


class Pace:
    """Turns are given out in order; none is taken back, so a caller that does not use its turn only wastes it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._next_s = float("-inf")

    def turn_s(self, pause_s: float) -> float:
        """The moment on the clock from which the caller may ask; the next turn comes `pause_s` after it."""
        with self._lock:
            turn = max(self._clock(), self._next_s)
            self._next_s = turn + pause_s
            return turn

    def slow_down(self, retry_after_s: float | None) -> None:
        """Nothing: the caller is told by its error when to come back. The budget of all processes changes its rate."""

    def count(self) -> None:
        """Of requests that take no turn; nobody counts those of one process."""


#: Of this process.
PACE = Pace()
