"""How long to wait before the next try, as a value: pure, so that a test can read the whole schedule."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before try n (0 = the first retry): first * factor**n up to the ceiling, spread by ± `jitter` of it."""

    first_s: float
    factor: float
    ceiling_s: float
    jitter: float

    def delay_s(self, n: int, random: Callable[[], float]) -> float:
        """`random` gives a float in [0, 1)."""
        exponent = min(n, 64)  # beyond it every schedule has reached its ceiling; keeps the power finite
        base = min(self.first_s * self.factor**exponent, self.ceiling_s)
        return base * (1 + self.jitter * (2 * random() - 1))
