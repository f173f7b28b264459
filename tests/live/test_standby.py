"""A feed process that may not, or cannot, lead; lease, stores and Redis are real."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from infrastructure.errors import Rejected, Unavailable
from infrastructure.persistence import Database, Lease, keys
from infrastructure.persistence.live import LiveCache
from marketdata.live import feed
from marketdata.live.feed import FeedProcess
from tests.live.source import Source

pytestmark = pytest.mark.usefixtures("stores")


@pytest.fixture
def process(database: Database, cache: LiveCache) -> Iterator[FeedProcess]:
    process = FeedProcess(database, cache, Source, "simulator", True)
    yield process
    stop = threading.Event()
    stop.set()
    process.run(stop)


def away(*_: object) -> bool:
    raise Unavailable("MongoDB does not answer.")


def test_why_nobody_leads_is_said_again_and_again_and_since_when_it_is_so(
    process: FeedProcess, cache: LiveCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lease, "acquire", away)
    said: list[dict[str, Any]] = []
    for _ in range(3):
        process.step()
        said.append(cache.get_json(keys.FEED))
        time.sleep(0.002)  # so that the time of the report moves
    assert {(one["state"], one["reason"], one["since_ms"]) for one in said} == {
        ("standby", "MongoDB does not answer.", said[0]["since_ms"])
    }
    assert said[0]["at_ms"] < said[1]["at_ms"] < said[2]["at_ms"]


def test_where_somebody_leads_that_one_is_heard(
    process: FeedProcess, cache: LiveCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lease, "acquire", away)
    cache.set_json(keys.FEED, {"state": "live"}, 5)
    process.step()
    assert cache.get_json(keys.FEED) == {"state": "live"}


def test_who_cannot_reach_a_source_lets_another_lead(database: Database, cache: LiveCache) -> None:
    def misconfigured() -> Source:
        raise Rejected("TRADINGVIEW_AUTH_TOKEN is missing.")

    process = FeedProcess(database, cache, misconfigured, "tradingview", False)
    process.step()
    assert not process.leads
    assert database.lease(feed.LEASE, "another", 60).acquire()


def test_why_it_cannot_lead_is_said_while_it_rests_too(database: Database, cache: LiveCache) -> None:
    def misconfigured() -> Source:
        raise Rejected("TRADINGVIEW_AUTH_TOKEN is missing.")

    process = FeedProcess(database, cache, misconfigured, "tradingview", False)
    said: list[dict[str, Any]] = []
    for _ in range(2):
        process.step()
        said.append(cache.get_json(keys.FEED))
        time.sleep(0.002)  # so that the time of the report moves
    assert [one["reason"] for one in said] == ["TRADINGVIEW_AUTH_TOKEN is missing."] * 2
    assert said[0]["since_ms"] == said[1]["since_ms"]
    assert said[0]["at_ms"] < said[1]["at_ms"]


def test_one_that_was_paused_says_nothing_until_its_lease_is_renewed(
    process: FeedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database does not answer, one whose lease was held goes on: nobody else can lead."""
    process.step()
    may_speak: list[bool] = []
    renewing = Lease.renew

    def renew(lease: Lease) -> bool:
        may_speak.append(process._may_speak())
        return renewing(lease)

    monkeypatch.setattr(Lease, "renew", renew)
    process.step()
    monkeypatch.setattr(Lease, "held", property(lambda _: False))  # as after a pause that was longer than it
    process.step()
    assert may_speak == [True, False]
    monkeypatch.setattr(Lease, "held", property(lambda _: True))
    monkeypatch.setattr(Lease, "renew", away)
    process.step()
    monkeypatch.setattr(Lease, "held", property(lambda _: False))
    assert process._may_speak()
