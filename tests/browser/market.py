"""A market that stands still until a test moves it, with the feed, the web server and a Redis of its own in processes
that may be killed; for pages that must not lose anything meanwhile."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, Database
from infrastructure.simulator import SimulatorServer, StandingClock
from tests.browser.site import DEADLINE_S, SYNCHRONOUS
from tests.live.platform import ManagePy
from tests.servers import free_port

TICK = "TEST:TICK"  # trades in each minute


@dataclass
class Market:
    folder: Path
    simulator: SimulatorServer
    clock: StandingClock
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def feed(self) -> ManagePy:
        return ManagePy(
            self.folder, "runfeed", TRADINGVIEW_WEBSOCKET_URL=self.simulator.websocket_url, **{SYNCHRONOUS: ""}
        )

    def web(self, **environment: str) -> ManagePy:
        return ManagePy(self.folder, "serve", PORT=str(self.port), **environment, **{SYNCHRONOUS: ""})

    @property
    def minute_ms(self) -> int:
        """The open of the minute that is forming."""
        return self.clock.at_ms - self.clock.at_ms % MINUTE_MS

    def next_minute(self, database: Database) -> None:
        """Moves on by one; returns once the bar that closed is stored."""
        closed_ms = self.minute_ms
        self.clock.at_ms = closed_ms + MINUTE_MS + 20_000
        store = BarStore(database)
        for _ in range(int(DEADLINE_S * 20)):
            series = store.find(TICK, INTERVALS["1m"])
            if series and len(store.read(series, closed_ms, closed_ms + 1)):
                return
            time.sleep(0.05)  # another process's state has no event
        raise AssertionError(f"the bar of {closed_ms} was not stored")
