"""The feed process: waits for the lease, leads while it holds it, steps down when it does not. Used by `runfeed`.

Any number may run. The lease's fencing number goes with everything the leader says in Redis, so one that was paused and
wakes up changes nothing. While MongoDB is away nobody can take the lease over, and the leader goes on.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from uuid import uuid4

from infrastructure.errors import InfrastructureError, Unavailable
from infrastructure.persistence import Database, Lease, at_most, keys
from infrastructure.persistence.live import FEED_TTL_MS, LiveCache
from infrastructure.tradingview.base import IDataProvider, IStreamProvider
from marketdata.live import blocks, protocol
from marketdata.live.leader import REDIS_LIMIT_S, Leader, now_ms
from marketdata.services.feed_report import Feed, reported

LEASE = "feed"
LEASE_S = 3.0  # another one leads so long after this one was killed, and the time of a step
STEP_S = 0.5
RENEW_LIMIT_S = 2.0
RELEASE_LIMIT_S = 1.0
PAUSE_S = 5.0  # after stepping down: two that contend must not storm the source with connections

logger = logging.getLogger(__name__)


class FeedProcess:
    """`provider` and `history` make the source's stream and open its history, None where it has none."""

    def __init__(
        self,
        database: Database,
        cache: LiveCache,
        provider: Callable[[], IStreamProvider],
        source: str,
        simulated: bool,
        history: Callable[[], IDataProvider] | None = None,
    ) -> None:
        self._database = database
        self._cache = cache
        self._hurried = cache.hurried(REDIS_LIMIT_S)
        self._provider = provider
        self._source = source
        self._simulated = simulated
        self._history = history
        owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._lease: Lease = database.lease(LEASE, owner, LEASE_S)
        self._unsure = False  # a renewal, begun while the lease was held, is under way or has got no answer
        self._stands_by = False
        self._not_before = float("-inf")
        self._leader: Leader | None = None
        self._trouble = ""

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; then drains within a few seconds and lets another one lead."""
        try:
            while not stop.is_set():
                self.step()
                stop.wait(STEP_S)
        finally:
            self._step_down()

    def step(self) -> None:
        resting = self._leader is None and time.monotonic() < self._not_before  # its trouble lasts as long
        if not resting:
            self._try_step()
        if self._leader is None and self._trouble:
            self._report_standby(self._trouble)

    def _try_step(self) -> None:
        try:
            if self._leader is None:
                self._stand_by()
            elif self._leader.replaced or not self._renew(self._leader):
                logger.warning("another feed leads: stepping down")
                self._step_down()
                self._not_before = time.monotonic() + PAUSE_S
            else:
                self._leader.step(time.monotonic())
            self._trouble = ""
        except InfrastructureError as error:
            if self._trouble != str(error):  # said once, not twice a second
                self._trouble = str(error)
                logger.warning("%s", error)

    @property
    def leads(self) -> bool:
        return self._leader is not None

    def _stand_by(self) -> None:
        with at_most(RENEW_LIMIT_S):
            granted = self._lease.acquire()
        if not granted:
            if not self._stands_by:
                logger.info("standing by: another feed leads")
            self._stands_by = True
            return
        self._stands_by = False
        logger.info("leading, fencing number %d", self._lease.fence)
        self._unsure = False
        try:
            self._leader = Leader(
                self._database,
                self._cache,
                self._provider(),
                self._lease.fence,
                self._may_speak,
                self._source,
                self._simulated,
                self._history,
            )
        except InfrastructureError:  # another process may be able to
            self._not_before = time.monotonic() + PAUSE_S
            self._release()
            raise
        self._leader.start()

    def _renew(self, leader: Leader) -> bool:
        """False when another one leads. Without an answer nobody else can lead either; a lease that ran out meanwhile
        is taken again, if it is still free, under a new number."""
        self._unsure = self._unsure or self._lease.held
        try:
            with at_most(RENEW_LIMIT_S):
                held = self._lease.renew()
                if not held and self._lease.acquire():
                    held = True
                    leader.lead_on(self._lease.fence)
        except Unavailable as error:
            logger.debug("lease not renewed: %s", error)
            return True
        self._unsure = False
        return held

    def _may_speak(self) -> bool:
        """Called by the publisher. A process that was paused longer than its lease must renew it first."""
        return self._lease.held or self._unsure

    def _step_down(self) -> None:
        leader, self._leader = self._leader, None
        if leader is None:
            return
        leader.close()
        self._release()

    def _release(self) -> None:
        try:
            with at_most(RELEASE_LIMIT_S):
                self._lease.release()
        except InfrastructureError as error:
            logger.warning("the lease runs out by itself: %s", error)

    def _report_standby(self, reason: str) -> None:
        """Where nobody can lead, browsers hear why, and since when; where somebody leads, that one is heard."""
        try:
            found = self._hurried.get_json(keys.FEED)
            said = reported(found, Feed) if found else Feed("standby")
            if said.state != "standby":
                return
            since_ms = said.since_ms if said.reason == reason else now_ms()
            feed = Feed("standby", reason, since_ms, now_ms(), self._source, self._simulated)
            self._hurried.set_json(keys.FEED, feed, FEED_TTL_MS / 1000)
            self._hurried.publish(keys.LIVE, blocks.pack_state(protocol.encode(feed).encode()))
        except InfrastructureError as error:
            logger.debug("standby not reported: %s", error)
