"""The simulator's clocks: one that runs, at any speed, and one that stands until a test moves it."""

import time
from dataclasses import dataclass, field
from typing import Protocol


class Clock(Protocol):
    @property
    def speed(self) -> float:
        """Simulated seconds in a real one; tells how long to sleep."""

    def now_ms(self) -> int: ...


@dataclass(frozen=True, slots=True)
class RunningClock:
    speed: float = 1.0
    start_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    started_at: float = field(default_factory=time.monotonic)

    def now_ms(self) -> int:
        return self.start_ms + int((time.monotonic() - self.started_at) * self.speed * 1000)


@dataclass(slots=True)
class StandingClock:
    """Set `at_ms` from any thread; the server looks at it every few hundredths of a second."""

    at_ms: int
    speed: float = 1.0

    def now_ms(self) -> int:
        return self.at_ms
