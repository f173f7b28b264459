"""The feed process with a source that the test speaks through; lease, stores and Redis are real."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, QuoteStore, keys
from infrastructure.persistence.live import LiveCache
from infrastructure.tradingview.base import Quote, SeriesBegun, Wanted
from marketdata.live.feed import FeedProcess
from marketdata.models import Symbol
from tests.live.source import MINUTE_MS, Source, bar_update
from tests.persistence.conftest import RedisServer

ONE_MINUTE = INTERVALS["1m"]

pytestmark = pytest.mark.usefixtures("stores")


class Run:
    """A feed process in a thread, with every source it made."""

    def __init__(self, database: Database, cache: LiveCache) -> None:
        self.sources: list[Source] = []
        self.stop = threading.Event()
        self.process = FeedProcess(database, cache, self._source, "simulator", True)
        self.thread = threading.Thread(target=self.process.run, args=(self.stop,), daemon=True)
        self.thread.start()

    def _source(self) -> Source:
        self.sources.append(Source())
        return self.sources[-1]

    @property
    def source(self) -> Source:
        eventually(lambda: bool(self.sources))
        return self.sources[-1]

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextmanager
def running(database: Database, cache: LiveCache) -> Iterator[Run]:
    run = Run(database, cache)
    try:
        yield run
    finally:
        run.end()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def feed_state(cache: LiveCache) -> str:
    return str((cache.get_json(keys.FEED) or {}).get("state"))


def last(cache: LiveCache) -> dict[str, float]:
    return {symbol: json.loads(text)["last"] for symbol, text in cache.quotes().items()}


def logged(cache: LiveCache, topic: str) -> list[int]:
    """Minutes of the closed bars that everybody was told of, in order."""
    entries = [entry for _, entry in cache._client.xrange(keys.LOG)]
    return [json.loads(entry[b"j"])["t"] // MINUTE_MS for entry in entries if entry[b"t"] == topic.encode()]


def configure(key: str, **fields: object) -> None:
    Symbol.objects.filter(pk=key).delete()
    Symbol.objects.create(key=key, **fields)


def test_what_the_operator_chose_and_what_browsers_watch_is_streamed(database: Database, cache: LiveCache) -> None:
    configure("TEST:TICK", stream_intervals=["1m", "1h"])
    configure("NASDAQ:AAPL", active=False, stream_intervals=["1m"])
    configure("BINANCE:BTCUSDT", stream_quotes=False)
    with running(database, cache) as run:
        chosen = Wanted(
            frozenset({"TEST:TICK"}), frozenset({("TEST:TICK", ONE_MINUTE), ("TEST:TICK", INTERVALS["1h"])})
        )
        run.source.wait_for(lambda source: source.wanted == chosen)
        cache.add_interest(["NASDAQ:AAPL", "BINANCE:BTCUSDT@5m", "NO:ONE", "TEST:TICK@9m"], 30)
        watched = Wanted(chosen.quotes | {"NASDAQ:AAPL"}, chosen.bars | {("BINANCE:BTCUSDT", INTERVALS["5m"])})
        run.source.wait_for(lambda source: source.wanted == watched)


def test_quotes_reach_redis_at_once_and_the_database_soon(database: Database, cache: LiveCache) -> None:
    with running(database, cache) as run:
        run.source.quote("TEST:TICK", 1_700_000_000_000, last=1.0, bid=0.5)
        run.source.quote("TEST:TICK", 1_700_000_000_001, last=2.0)
        eventually(lambda: last(cache) == {"TEST:TICK": 2.0})
        saved = {"TEST:TICK": (Quote("TEST:TICK", last=2.0, bid=0.5), 1_700_000_000_001)}
        eventually(lambda: QuoteStore(database).load() == saved)


def test_a_closed_bar_is_stored_when_it_is_heard_of(database: Database, cache: LiveCache) -> None:
    configure("TEST:TICK", stream_intervals=["1m"])
    with running(database, cache) as run:
        run.source.bar("TEST:TICK", "1m", 1, 2.0)
        eventually(lambda: json.loads(cache._client.hget(keys.BARS, "TEST:TICK@1m") or b"{}").get("closed") is False)
        run.source.bar("TEST:TICK", "1m", 1, 3.0, closed=True)
        eventually(lambda: json.loads(cache._client.hget(keys.BARS, "TEST:TICK@1m") or b"{}").get("closed") is True)
        series = BarStore(database).find("TEST:TICK", ONE_MINUTE)
        assert series is not None
        assert [bar.close for bar in BarStore(database).read(series)] == [3.0]


def test_the_state_of_the_source_is_the_state_of_the_feed(database: Database, cache: LiveCache) -> None:
    with running(database, cache) as run:
        run.source.state("live")
        eventually(lambda: feed_state(cache) == "live")
        run.source.state("stopped", "Upstream traffic is off.")
        eventually(lambda: feed_state(cache) == "stopped")
        said = cache.get_json(keys.FEED)
        assert (said["reason"], said["source"], said["simulated"], said["fence"]) == (
            "Upstream traffic is off.", "simulator", True, 1,
        )  # fmt: skip
    assert feed_state(cache) == "absent"


def test_a_feed_of_closed_markets_says_so(database: Database, cache: LiveCache) -> None:
    for key in ("TEST:TICK", "NASDAQ:AAPL", "BINANCE:BTCUSDT"):
        configure(key, session="0000-0001:1", timezone="UTC", holidays=",".join(_sundays()))
    with running(database, cache) as run:
        run.source.wait_for(lambda source: source.wanted.quotes != frozenset())
        run.source.state("live")
        eventually(lambda: feed_state(cache) == "market_closed")
        configure("TEST:BARS", session="24x7", timezone="UTC", stream_quotes=False, stream_intervals=["1m"])
        eventually(lambda: feed_state(cache) == "live")


def _sundays() -> list[str]:
    from datetime import UTC, datetime, timedelta

    today = datetime.now(UTC).date()
    return [f"{today + timedelta(days=n):%Y%m%d}" for n in range(-8, 9)]


def test_a_refused_symbol_carries_the_reason(database: Database, cache: LiveCache) -> None:
    with running(database, cache) as run:
        run.source.refuse("NASDAQ:AAPL", "no permission")
        eventually(lambda: Symbol.objects.get(pk="NASDAQ:AAPL").error == "Not streamed: no permission")


def test_a_new_leader_starts_from_the_last_known_quotes(database: Database, cache: LiveCache) -> None:
    QuoteStore(database).save([(Quote("NASDAQ:AAPL", last=7.0, currency="USD"), 5)])
    with running(database, cache) as run:
        eventually(lambda: last(cache) == {"NASDAQ:AAPL": 7.0})
        run.source.quote("NASDAQ:AAPL", 6, last=8.0)
        eventually(lambda: last(cache) == {"NASDAQ:AAPL": 8.0})
        assert json.loads(cache.quotes()["NASDAQ:AAPL"])["currency"] == "USD"


def test_one_leads_the_other_stands_by_and_takes_over_with_a_higher_number(
    database: Database, cache: LiveCache
) -> None:
    with running(database, cache) as first:
        eventually(lambda: first.process.leads)
        with running(database, cache) as second:
            first.source.quote("TEST:TICK", 1, last=1.0)
            eventually(lambda: last(cache) == {"TEST:TICK": 1.0})
            assert not second.process.leads
            first.end()
            eventually(lambda: second.process.leads)
            second.source.quote("TEST:TICK", 2, last=2.0)
            eventually(lambda: last(cache) == {"TEST:TICK": 2.0})
            assert cache.get_json(keys.FEED)["fence"] == 2
            assert first.sources[0].closed


def test_a_new_leader_says_what_the_one_before_could_not(database: Database, cache: LiveCache) -> None:
    """Its last closed bars were stored, by it or by a pull, but nobody heard of them."""
    configure("TEST:TICK", stream_intervals=["1m"])
    with running(database, cache) as first:
        for minute in (1, 2):
            first.source.bar("TEST:TICK", "1m", minute, 2.0, closed=True)
        eventually(lambda: logged(cache, "TEST:TICK@1m") == [1, 2])
    store = BarStore(database)
    series = store.find("TEST:TICK", ONE_MINUTE)
    assert series is not None
    store.push((series, bar_update("TEST:TICK", "1m", minute, 3.0, closed=True).bar) for minute in (3, 4))
    with running(database, cache) as second:
        second.source.say(SeriesBegun("TEST:TICK", ONE_MINUTE, 4 * MINUTE_MS))
        for minute in (4, 5):
            second.source.bar("TEST:TICK", "1m", minute, 3.0, closed=True)
        eventually(lambda: logged(cache, "TEST:TICK@1m") == [1, 2, 3, 4, 5])


def test_what_was_stored_while_nobody_watched_is_said_to_who_watches_again(
    database: Database, cache: LiveCache
) -> None:
    configure("TEST:TICK", stream_intervals=[])
    topic = "TEST:TICK@1m"
    with running(database, cache) as run:
        cache.add_interest([topic], 2.5)
        run.source.wait_for(lambda source: bool(source.wanted.bars))
        for minute in (1, 2):
            run.source.bar("TEST:TICK", "1m", minute, 2.0, closed=True)
        eventually(lambda: logged(cache, topic) == [1, 2])
        run.source.wait_for(lambda source: not source.wanted.bars)
        store = BarStore(database)
        series = store.find("TEST:TICK", ONE_MINUTE)
        assert series is not None
        store.push((series, bar_update("TEST:TICK", "1m", minute, 3.0, closed=True).bar) for minute in range(3, 8))
        cache.add_interest([topic], 30)
        run.source.wait_for(lambda source: bool(source.wanted.bars))
        run.source.say(SeriesBegun("TEST:TICK", ONE_MINUTE, 6 * MINUTE_MS))
        for minute in range(6, 10):
            run.source.bar("TEST:TICK", "1m", minute, 3.0, closed=True)
        eventually(lambda: logged(cache, topic) == list(range(1, 10)))


def test_interest_of_browsers_is_released_after_a_grace_time(database: Database, cache: LiveCache) -> None:
    configure("NASDAQ:AAPL", active=False)
    with running(database, cache) as run:
        cache.add_interest(["NASDAQ:AAPL"], 2.5)
        run.source.wait_for(lambda source: "NASDAQ:AAPL" in source.wanted.quotes)
        run.source.wait_for(lambda source: "NASDAQ:AAPL" not in source.wanted.quotes)


def test_a_leader_whose_lease_was_taken_steps_down_and_writes_nothing_more(
    database: Database, cache: LiveCache
) -> None:
    with running(database, cache) as run:
        run.source.quote("TEST:TICK", 1, last=1.0)
        eventually(lambda: last(cache) == {"TEST:TICK": 1.0})
        source = run.source
        database.collection("lease").delete_many({})  # as if it had been paused for longer than its lease
        assert database.lease("feed", "another", 60).acquire()
        eventually(lambda: not run.process.leads)
        source.quote("TEST:TICK", 2, last=2.0)
        assert source.closed
        assert last(cache) == {"TEST:TICK": 1.0}


def test_where_the_lease_ran_out_but_is_free_it_leads_on_without_a_break(database: Database, cache: LiveCache) -> None:
    with running(database, cache) as run:
        run.source.state("live")
        eventually(lambda: feed_state(cache) == "live")
        database.collection("lease").update_many({}, [{"$set": {"expires_at": "$$NOW"}}])
        eventually(lambda: cache.get_json(keys.FEED)["fence"] == 2)
        assert len(run.sources) == 1


def test_flushall_is_healed_by_the_running_feed(database: Database, cache: LiveCache) -> None:
    with running(database, cache) as run:
        run.source.quote("TEST:TICK", 1, last=1.0)
        eventually(lambda: last(cache) == {"TEST:TICK": 1.0})
        cache._client.flushall()
        eventually(lambda: last(cache) == {"TEST:TICK": 1.0})


def test_without_redis_it_leads_and_says_everything_when_redis_is_back(
    database: Database, cache: LiveCache, redis_server: RedisServer
) -> None:
    configure("TEST:TICK", stream_intervals=["1m"])
    redis_server.kill()
    with running(database, cache) as run:
        run.source.quote("TEST:TICK", 1, last=1.0)
        run.source.bar("TEST:TICK", "1m", 1, 2.0, closed=True)
        store = BarStore(database)
        eventually(lambda: store.find("TEST:TICK", ONE_MINUTE) is not None)
        redis_server.start()
        with redis.Redis.from_url(redis_server.url) as client:
            eventually(lambda: client.hlen(keys.QUOTES) == 1)
        assert last(cache) == {"TEST:TICK": 1.0}
        eventually(lambda: run.source.wanted.quotes == {"TEST:TICK", "NASDAQ:AAPL", "BINANCE:BTCUSDT"})
