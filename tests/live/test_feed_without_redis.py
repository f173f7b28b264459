"""A feed and a Redis that does not answer, or cannot be reached; lease and stores are real."""

from datetime import timedelta
from typing import Any

import pytest

from infrastructure.errors import Unavailable
from infrastructure.persistence import Database, keys
from infrastructure.persistence.live import Heard, LiveCache
from infrastructure.tradingview.base import SeriesBegun
from marketdata.live.feed import LEASE, LEASE_S
from tests.live.source import MINUTE_MS
from tests.live.test_feed import ONE_MINUTE, Run, configure, eventually, logged, running
from tests.persistence.conftest import RedisServer

pytestmark = pytest.mark.usefixtures("stores")

TOPIC = "TEST:BARS@1m"


class CutOff(LiveCache):
    """While `cut` the network to Redis is; Redis itself lives on."""

    cut = False

    def _ask(self) -> None:
        if self.cut:
            raise Unavailable("Redis does not answer: no route to host")

    def speak(self, *arguments: Any, **named: Any) -> Heard:
        self._ask()
        return super().speak(*arguments, **named)

    def logged_until(self) -> dict[str, int]:
        self._ask()
        return super().logged_until()

    def interest(self) -> set[str]:
        self._ask()
        return super().interest()


def streams(run: Run, first: int, last: int) -> None:
    run.source.wait_for(lambda source: bool(source.wanted.bars))
    run.source.say(SeriesBegun("TEST:BARS", ONE_MINUTE, first * MINUTE_MS))
    for minute in range(first, last + 1):
        run.source.bar("TEST:BARS", "1m", minute, float(minute), closed=True)


def test_bars_that_were_stored_and_never_said_are_told_as_lost_by_the_next_leader(
    database: Database, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("TEST:BARS", stream_intervals=["1m"])
    cache = CutOff(redis_server.url)
    with running(database, cache) as first:
        streams(first, 1, 5)
        eventually(lambda: logged(cache, TOPIC) == [1, 2, 3, 4, 5])
        epoch = cache._client.get(keys.LOG_EPOCH)
        monkeypatch.setattr(CutOff, "cut", True)
        streams(first, 6, 30)
    with running(database, cache) as second:
        streams(second, 22, 31)
        monkeypatch.setattr(CutOff, "cut", False)
        eventually(lambda: logged(cache, TOPIC)[-1:] == [31])
    assert cache._client.get(keys.LOG_EPOCH) != epoch


@pytest.mark.slow
def test_a_redis_that_hangs_costs_nobody_the_lead(database: Database, redis_server: RedisServer) -> None:
    def lease() -> dict[str, Any]:
        found = database.collection("lease").find_one({"_id": LEASE})
        assert found is not None
        return found

    with running(database, LiveCache(redis_server.url)) as run:
        eventually(lambda: run.process.leads)
        with redis_server.paused():
            before = lease()
            lives = timedelta(seconds=3 * LEASE_S)
            eventually(lambda: lease()["expires_at"] - before["expires_at"] >= lives)
            assert (lease()["fence"], run.process.leads) == (before["fence"], True)
    with redis_server.paused(), running(database, LiveCache(redis_server.url)) as another:
        another.source.wait_for(lambda source: source._sink is not None)
