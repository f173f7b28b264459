import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
import redis
from django.conf import LazySettings
from django.core.management import call_command

from infrastructure.errors import Rejected, Throttled, Unavailable
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, keys
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import IDataProvider, TradingViewProvider
from infrastructure.tradingview.budget import LEAST_PAUSE_S, LONGEST_WAIT_S, RECOVERY_S, SLOWEST, RequestBudget, because
from infrastructure.tradingview.config import TradingViewConfig
from infrastructure.tradingview.pace import Pace
from marketdata.models import BackfillJob, Symbol
from marketdata.services import backfill, pulls, quotes, symbols
from tests.history.jobs import start_here
from tests.persistence.conftest import RedisServer, redis_server
from tests.platform.conftest import NOW_MS, add_symbol

__all__ = ["redis_server"]
COIN = "BINANCE:BTCUSDT"
TODAY = f"{datetime.now(UTC):%Y-%m-%d}"


@pytest.fixture
def budget(redis_server: RedisServer) -> RequestBudget:
    return fixed(redis_server)


def fixed(server: RedisServer) -> RequestBudget:
    """One process's budget; its own clock stands still."""
    budget = RequestBudget(server.url)
    budget.monotonic = lambda: 0.0
    return budget


def turns(budget: RequestBudget, pause_s: float, count: int) -> list[int]:
    """Rounded to seconds: what a call takes does not show."""
    return [round(budget.turn_s(pause_s)) for _ in range(count)]


def raw(server: RedisServer) -> "redis.Redis[bytes]":
    return redis.Redis.from_url(server.url)


def test_all_processes_share_one_pace(redis_server: RedisServer) -> None:
    one, other = fixed(redis_server), fixed(redis_server)
    assert turns(one, 10, 2) + turns(other, 10, 2) + turns(one, 5, 2) == [0, 10, 20, 30, 40, 45]


def test_a_pause_of_none_makes_nobody_wait(budget: RequestBudget) -> None:
    assert turns(budget, 0, 50) == [0] * 50


def test_nobody_waits_without_end_and_who_is_refused_takes_no_turn(budget: RequestBudget) -> None:
    assert turns(budget, LONGEST_WAIT_S - 5, 2) == [0, LONGEST_WAIT_S - 5]
    for _ in range(3):
        with pytest.raises(Unavailable, match="Too many requests to the source are waiting already"):
            budget.turn_s(5)
    assert budget.state().counts == {TODAY: {"other": 2}}


def test_the_rate_halves_once_for_one_complaint_that_everybody_hears(
    budget: RequestBudget, redis_server: RedisServer
) -> None:
    for process in (budget, fixed(redis_server), fixed(redis_server)):
        process.slow_down(None)
    assert budget.state().slower == 2
    assert turns(budget, 5, 3) == [0, 10, 20]


def test_each_later_complaint_halves_again_down_to_a_bound(budget: RequestBudget, redis_server: RedisServer) -> None:
    seen = []
    with raw(redis_server) as client:
        for _ in range(8):
            budget.slow_down(None)
            seen.append(budget.state().slower)
            client.hset(keys.BUDGET, "told", 0)  # as if it had been long ago
    assert seen == [2, 4, 8, 16, 32, SLOWEST, SLOWEST, SLOWEST]


def test_where_no_pause_is_configured_a_complaint_makes_one(budget: RequestBudget) -> None:
    budget.slow_down(None)
    waits = [budget.turn_s(0) for _ in range(3)]
    assert waits[1] - waits[0] == pytest.approx(2 * LEAST_PAUSE_S, abs=0.5)


def test_it_recovers_by_doubling_again(budget: RequestBudget, redis_server: RedisServer) -> None:
    with raw(redis_server) as client:
        for _ in range(3):
            budget.slow_down(None)
            client.hset(keys.BUDGET, "told", 0)
        now_ms = int(client.time()[0]) * 1000
        client.hset(keys.BUDGET, "since", now_ms - int(2.5 * RECOVERY_S * 1000))
        assert budget.state().slower == 2
        assert turns(budget, 5, 2) == [0, 10]
        assert client.hget(keys.BUDGET, "slow") == b"2"
        client.hset(keys.BUDGET, "since", now_ms - int(100 * RECOVERY_S * 1000))
        assert (budget.state().slower, turns(budget, 5, 2)) == (1, [20, 25])


def test_the_source_may_say_how_long_to_wait(budget: RequestBudget) -> None:
    budget.slow_down(30)
    assert turns(budget, 0, 1) == [30]
    budget.slow_down(1e9)
    assert turns(budget, 0, 1) == [LONGEST_WAIT_S]


def test_without_redis_each_process_keeps_the_pause(budget: RequestBudget, redis_server: RedisServer) -> None:
    budget.local = Pace(lambda: 100.0)
    redis_server.kill()
    assert [budget.turn_s(2.0) for _ in range(3)] == [100.0, 102.0, 104.0]
    budget.slow_down(1)
    budget.count()
    with pytest.raises(Unavailable):
        budget.state()


def test_the_innermost_cause_counts(budget: RequestBudget) -> None:
    budget.count()
    with because("pull"):
        budget.turn_s(0)
        with because("symbols"):
            budget.turn_s(0)
            budget.count()
        budget.turn_s(0)
    assert budget.state().counts == {TODAY: {"other": 1, "pull": 2, "symbols": 2}}


@pytest.fixture
def shared(tradingview_config: TradingViewConfig, redis_server: RedisServer) -> Iterator[tuple[SimulatorServer, Any]]:
    """A simulator of its own, and a provider that keeps the shared pace."""
    with SimulatorServer(seed=1) as server:
        config = replace(tradingview_config, websocket_url=server.websocket_url, search_url=server.http_url)
        with TradingViewProvider(config, pace=RequestBudget(redis_server.url)) as provider:
            yield server, provider


@pytest.mark.parametrize(
    ("fault", "error", "slower"), [("handshake_429", Throttled, 2), ("handshake_403", Rejected, 1)]
)
def test_a_refused_connection_slows_all_processes_if_there_were_too_many(
    shared: tuple[SimulatorServer, Any], budget: RequestBudget, fault: str, error: type[Exception], slower: int
) -> None:
    server, provider = shared
    server.faults.set(fault)
    with pytest.raises(error):
        provider.resolve(COIN)
    assert budget.state().slower == slower


def test_a_session_that_is_ended_for_its_rate_slows_all_processes(
    shared: tuple[SimulatorServer, Any], budget: RequestBudget
) -> None:
    server, provider = shared
    provider.resolve(COIN)
    server.faults.set("protocol_error", value="max sessions rate reached")
    assert provider.resolve(COIN).full_name == COIN  # over a new connection, at the slower pace
    assert budget.state().slower == 2


def test_an_http_answer_of_too_many_requests_slows_all_processes(
    shared: tuple[SimulatorServer, Any], budget: RequestBudget
) -> None:
    server, provider = shared
    server.faults.set("http_429", value=60)
    with pytest.raises(Throttled):
        provider.search("btc")
    assert budget.state().slower == 2


def test_every_request_is_counted_by_its_cause(
    provider: IDataProvider, source: SimulatorServer, bars: BarStore
) -> None:
    add_symbol(provider, COIN, "1m")
    symbols.refresh(provider, [COIN])
    pulls.pull(provider, bars, INTERVALS["1m"], NOW_MS)
    job = BackfillJob(symbol=COIN, interval="1m", bars=12_000)
    start_here(job)
    backfill.run(job, provider, bars, now_ms=NOW_MS)
    quotes.refresh(provider, NOW_MS)
    provider.search("btc")
    counts = RequestBudget.from_settings().state().counts
    # A connection and a resolve before anything has a cause; then one connection serves all.
    assert counts == {TODAY: {"backfill": job.requests, "other": 3, "pull": 1, "quotes": 1, "symbols": 1}}
    assert Symbol.objects.get().error == ""
    again = BackfillJob(symbol=COIN, interval="1m", bars=12_000)
    start_here(again)
    backfill.run(again, provider, bars, now_ms=NOW_MS)
    assert RequestBudget.from_settings().state().counts == counts


def test_the_command_shows_pace_and_counts(empty: None, settings: LazySettings) -> None:
    budget = RequestBudget.from_settings()
    with because("pull"):
        budget.count()
    budget.slow_down(None)
    out = StringIO()
    call_command("budget", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {
        "pause_s": settings.TRADINGVIEW["pause_s"], "slower": 2, "counts": {TODAY: {"pull": 1}},
    }  # fmt: skip
    out = StringIO()
    call_command("budget", stdout=out)
    assert f"{TODAY} │ pull  │        1 │" in out.getvalue()
    assert "now 2 times as long" in out.getvalue()
