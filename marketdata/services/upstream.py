"""The switch over all traffic to the source. Adapters call `check` before they send anything; the admin turns it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec

from django.conf import settings

from infrastructure.errors import InfrastructureError, Rejected, Unavailable
from infrastructure.persistence import Database, at_most, mongodb_errors
from marketdata.models import UpstreamSwitch

P = ParamSpec("P")

KEY = "upstream"
REMEMBERED_S = 1.0
OUTAGE_S = 5.0  # a store that is away is not asked more often; the last known answer counts meanwhile
LOOK_LIMIT_S = 1.0  # live data must not wait long for the store: a stream's thread asks too


class UpstreamOff(Rejected):
    """Caught by what pauses instead of failing: nothing is wrong, and it goes on once the switch is on again."""


@dataclass(frozen=True, slots=True)
class State:
    on: bool
    why: str = ""  # a sentence, where it is off


class Gate:
    """Remembers the switch for a second; one per process, used from any thread."""

    def __init__(self, read: Callable[[], State], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._state: State | None = None
        self._until = float("-inf")

    def check(self) -> None:
        """UpstreamOff while the switch is off; Unavailable while nobody can say and nobody ever could."""
        with self._lock:
            if self._clock() >= self._until:
                self._look()
            state = self._state
        if state is None:
            raise Unavailable("Nothing is sent to the source: the upstream switch cannot be read.")
        if not state.on:
            raise UpstreamOff(state.why)

    def _look(self) -> None:
        try:
            with at_most(LOOK_LIMIT_S):
                self._state = self._read()
            self._until = self._clock() + REMEMBERED_S
        except InfrastructureError:
            self._until = self._clock() + OUTAGE_S

    def forget(self) -> None:
        self._until = float("-inf")


def state() -> State:
    """As it is now; raises Unavailable where the store is away."""
    if not settings.UPSTREAM:
        return State(False, "Upstream traffic is off: UPSTREAM=off in the environment of this process.")
    switch = _stored()
    if switch is None or switch["on"]:
        return State(True)
    reason = f" ({switch['reason']})" if switch["reason"] else ""
    return State(False, f"Upstream traffic is off: {switch['changed_by'] or 'somebody'} switched it off{reason}.")


@mongodb_errors()
def _stored() -> dict[str, object] | None:
    return Database().collection(UpstreamSwitch._meta.db_table).find_one({"_id": KEY})


gate = Gate(state)


def check() -> None:
    """`settings.MARKETDATA_UPSTREAM_GATE`."""
    gate.check()


def says_off(work: Callable[P, str]) -> Callable[P, str]:
    """For scheduled tasks: that the switch is off is no failure of theirs, only what they have to say."""

    @wraps(work)
    def unless_off(*args: P.args, **kwargs: P.kwargs) -> str:
        try:
            return work(*args, **kwargs)
        except UpstreamOff as off:
            return str(off)

    return unless_off


@mongodb_errors()
def turn(on: bool, by: str, reason: str = "") -> None:
    """Every process follows within a second."""
    UpstreamSwitch.objects.update_or_create(key=KEY, defaults={"on": on, "reason": reason, "changed_by": by})
    gate.forget()
