"""Several `runfeed` processes, killed and paused: who streams, and that nobody misses a closed bar."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from infrastructure.bars import Bar
from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.persistence import BarStore, Database, keys
from infrastructure.persistence.live import LiveCache
from infrastructure.simulator import SimulatorServer, StandingClock
from tests.live.feed_path import BARS_OF, FRIDAY_MS, TOPIC, as_bar, half_minute, prepare
from tests.live.platform import ManagePy
from tests.persistence.conftest import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DEADLINE_S = 60.0  # only guards against a hang
SYMBOLS = {"NASDAQ:AAPL", "BINANCE:BTCUSDT", BARS_OF}


class Feeds:
    """Feed processes on one simulated market, whose clock stands until it is moved."""

    def __init__(self, folder: Path, database: Database, redis_server: RedisServer, server: SimulatorServer) -> None:
        self._folder, self._server = folder, server
        self.database = database
        self.cache = LiveCache(redis_server.url)
        assert isinstance(server.clock, StandingClock)
        self.clock = server.clock

    def process(self) -> ManagePy:
        http = self._server.http_url
        urls = {f"TRADINGVIEW_{name}_URL": http for name in ("SEARCH", "SCANNER", "SITE")}
        return ManagePy(self._folder, "runfeed", TRADINGVIEW_WEBSOCKET_URL=self._server.websocket_url, **urls)

    @property
    def newest_ms(self) -> int:
        """Open of the newest closed minute."""
        return self.clock.at_ms - self.clock.at_ms % MINUTE_MS - MINUTE_MS

    @contextmanager
    def moving(self) -> Iterator[None]:
        """The market's clock runs, twenty times as fast as ours, and stands at a half minute in the end."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(0.05):
                self.clock.at_ms += 1000

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.clock.at_ms = half_minute(self.clock.at_ms)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cache.get_json(keys.FEED) or {}
        return found

    def leads(self, fence: int) -> bool:
        return (self.state().get("fence"), self.state().get("state")) == (fence, "live")

    def logged(self) -> list[Bar]:
        """Closed bars as everybody was told of them."""
        rows = [fields for _, fields in self.cache._client.xrange(keys.LOG)]
        return [as_bar(json.loads(row[b"j"])) for row in rows if row[b"t"] == TOPIC.encode()]

    def stored(self) -> list[Bar]:
        store = BarStore(self.database)
        series = store.find(BARS_OF, INTERVALS["1m"])
        return list(store.read(series)) if series else []

    def see_no_bar_missing(self, bars: int) -> None:
        """Up to now, at least so many, in the store and on the wire."""
        eventually(lambda: bool(self.logged()) and self.logged()[-1].time_ms == self.newest_ms)
        for found in (self.logged(), self.stored()):
            market = self._server.market.bars(BARS_OF, INTERVALS["1m"], found[0].time_ms, self.newest_ms + MINUTE_MS)
            assert found == list(market)
            assert len(found) >= bars


@pytest.fixture
def feeds(tmp_path: Path, database: Database, redis_server: RedisServer) -> Iterator[Feeds]:
    prepare(database)
    folder = tmp_path / "logs"
    folder.mkdir()
    with SimulatorServer(clock=StandingClock(FRIDAY_MS)) as server:
        yield Feeds(folder, database, redis_server, server)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def says(process: ManagePy, words: str) -> bool:
    return words in process.log.read_text()


def test_kill_of_the_leader_and_the_one_that_stands_by_streams(feeds: Feeds) -> None:
    with feeds.process() as first, ExitStack() as stack:
        eventually(lambda: feeds.leads(1))
        second = stack.enter_context(feeds.process())
        eventually(lambda: says(second, "standing by"))
        with feeds.moving():
            eventually(lambda: len(feeds.logged()) >= 10)
            killed = time.monotonic()
            first.stop(signal.SIGKILL)
            eventually(lambda: feeds.leads(2))
            print(f"\nanother streams {time.monotonic() - killed:.1f} s after kill -9 of the leader")
        feeds.clock.at_ms += MINUTE_MS
        feeds.see_no_bar_missing(11)
        assert second.stop() == 0
    assert feeds.state()["state"] == "absent"


def test_the_next_leader_fills_the_hour_in_which_there_was_none(feeds: Feeds) -> None:
    with feeds.process() as first:
        eventually(lambda: len(feeds.logged()) >= 9)
        first.stop(signal.SIGKILL)
    feeds.clock.at_ms += 60 * MINUTE_MS
    with feeds.process() as second:
        feeds.see_no_bar_missing(60)
        assert second.stop() == 0


class Listener:
    """Every block that the feeds publish: the fencing number of who speaks."""

    def __init__(self, url: str) -> None:
        self._subscription = redis.Redis.from_url(url).pubsub(ignore_subscribe_messages=True)
        self._subscription.subscribe(keys.LIVE)
        self.fences: list[int] = []

    def hear(self) -> list[int]:
        """All so far."""
        while message := self._subscription.get_message(timeout=0):
            self.fences.append(int(message["data"].split(b"|", 2)[1]))
        return self.fences

    def close(self) -> None:
        self._subscription.close()


def test_a_leader_that_was_paused_wakes_up_and_is_silent(feeds: Feeds, redis_server: RedisServer) -> None:
    listener = Listener(redis_server.url)
    with feeds.process() as first, feeds.process() as second:
        eventually(lambda: feeds.leads(1) and any(says(one, "standing by") for one in (first, second)))
        paused, other = (first, second) if says(second, "standing by") else (second, first)
        with feeds.moving():
            eventually(lambda: len(feeds.logged()) >= 10)
            paused.process.send_signal(signal.SIGSTOP)
            eventually(lambda: feeds.leads(2) and listener.hear()[-1:] == [2])
            paused.process.send_signal(signal.SIGCONT)
            eventually(lambda: says(paused, "stepping down"))
            after = len(listener.hear())
            eventually(lambda: len(listener.hear()) > after + 50)
            assert feeds.state()["fence"] == 2
            known = {quote["_id"]: quote["fence"] for quote in feeds.database.collection("quote").find()}
            assert known == dict.fromkeys(SYMBOLS, 2)
        assert set(listener.fences[listener.fences.index(2) :]) == {2}
        feeds.clock.at_ms += MINUTE_MS
        feeds.see_no_bar_missing(11)
        assert (paused.stop(), other.stop()) == (0, 0)
        assert set(listener.hear()[listener.fences.index(2) :]) == {2}
    listener.close()
