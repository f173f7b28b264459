"""Each way in which the source was seen to misbehave, against the whole feed path: what the feed does, what a browser
is told, that no closed bar is lost or doubled, that all is well after it. `docs/operations.md` repeats the table."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infrastructure.errors import InfrastructureError, Malformed, Rejected, Throttled, Unavailable
from infrastructure.intervals import MINUTE_MS
from infrastructure.persistence import Database, QuoteStore, keys
from infrastructure.persistence.live import LiveCache
from infrastructure.simulator import MODES, PAID_TOKEN, SimulatorServer, StandingClock
from marketdata.live import protocol
from marketdata.services import quotes, upstream
from tests.live.feed_path import FRIDAY_MS, SYMBOLS, FeedPath, flows, passes, prepare, watched, whole
from tests.persistence.conftest import RedisServer

HOLE = 50  # minutes that pass during a fault: more than the ten bars that come again with a connection


@dataclass(frozen=True)
class Row:
    """`told`: states a browser sees, besides live. `then`: faults that go with it. `config`: of the adapter."""

    mode: str
    does: str
    told: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    then: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    by_hand: bool = False  # it goes on when a person has switched it off and on


RECONNECTS = (
    "connects again after a pause that grows, asks for everything again, fetches the closed bars that it missed"
)
STALE = "is stale after `TRADINGVIEW_SILENCE_S` in an open market, renews the token, then as after `close`"
NOTICES_NOTHING = "goes on"
AGAIN = ("reconnecting",)
SILENT = ("stale",)
IMPATIENT = {"silence_s": 0.5}

ROWS = (
    Row("close", RECONNECTS, AGAIN),
    Row("reset", RECONNECTS, AGAIN),
    Row("critical_error", "as after `close` where it ends the quotes; else opens that chart session again", AGAIN),
    Row(
        "protocol_error",
        "as after `close`; where it is about the token, with another one if there is a session cookie to get it with; "
        "where that is refused too, or there is none, as after `handshake_403`",
        AGAIN,
    ),
    Row("unknown_message", NOTICES_NOTHING),
    Row("huge_frame", NOTICES_NOTHING),
    Row("silence", STALE, SILENT, config=IMPATIENT),
    Row("heartbeats_only", STALE, SILENT, config=IMPATIENT),
    Row("token_expired", STALE, SILENT, config={**IMPATIENT, "auth_token": PAID_TOKEN}),
    Row("slow_drip", STALE, SILENT, {"value": 100}, config=IMPATIENT),
    Row("close_mid_batch", RECONNECTS, AGAIN, {"times": 1}),
    Row("malformed_json", "leaves the message out, asks for everything again over the same connection", (),
        {"times": 1}),
    Row("wrong_length", RECONNECTS, AGAIN, {"times": 1}),
    Row("heartbeat_with_data", NOTICES_NOTHING),
    Row("heartbeat_between", NOTICES_NOTHING),
    Row("overlap", "drops what it has already", AGAIN, then=("close",)),
    Row("out_of_order", "sorts the bars", AGAIN, then=("close",)),
    Row("outside_range", "cuts off what it did not ask for", AGAIN, then=("close",)),
    Row("duplicate_completed", NOTICES_NOTHING, AGAIN, then=("close",)),
    Row("completed_without_data", "asks for the bars again", AGAIN, {"times": 2}, ("close",)),
    Row("clock_skew", "goes by the times in later messages", AGAIN, {"value": 3600}, ("close",)),
    Row("handshake_429", "waits as long as it is told, 300 s at most, then as after `close`", AGAIN,
        {"times": 1, "value": 1}, ("close",)),
    Row("handshake_403", "is refused; tries again after 300 s, or when the upstream switch was off and is on again",
        ("refused", "stopped"), then=("close",), by_hand=True),
)  # fmt: skip


@dataclass(frozen=True)
class HttpRow:
    mode: str
    does: str
    error: type[InfrastructureError]


HTTP_ROWS = (
    HttpRow("http_429", "the pull ends; all processes are twice as slow from then on", Throttled),
    HttpRow("http_403", "the pull fails: a person must act", Rejected),
    HttpRow("http_503", "the pull ends and is repeated by the next slot", Unavailable),
    HttpRow("http_html", "the pull fails, the start of the page is kept as a sample", Malformed),
    HttpRow("http_empty", "the pull fails, an empty answer is no answer", Malformed),
    HttpRow("scanner_error", "the pull fails with the scanner's own words", Rejected),
)
NOT_ASKED = {"captcha": "nothing: the platform never signs in with a password"}


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer(clock=StandingClock(FRIDAY_MS), heartbeat_s=0.2) as running:
        yield running


@pytest.fixture
def cache(database: Database, redis_server: RedisServer) -> Iterator[LiveCache]:
    prepare(database)
    upstream.gate.forget()
    yield LiveCache(redis_server.url)
    upstream.gate.forget()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mode)
async def test_a_fault_of_the_stream(
    row: Row, live: None, server: SimulatorServer, database: Database, cache: LiveCache
) -> None:
    path = FeedPath(database, cache, server, **row.config)
    async with watched(path) as viewer:
        before = viewer.states()
        server.faults.set(row.mode, **row.options)
        for mode in row.then:
            server.faults.set(mode)
        await passes(path, HOLE)
        await viewer.until_seen(*before, *row.told[:1])
        if row.by_hand:
            await asyncio.to_thread(upstream.turn, False, "alice")
            await viewer.until_seen(*before, *row.told)
        if row.told and not row.options.get("times") and not row.then:
            await viewer.until_seen(*before, *row.told)
            server.faults.clear()
        if row.by_hand:
            server.faults.clear()
            await asyncio.to_thread(upstream.turn, True, "alice")
        ended = time.monotonic()
        await flows(path, viewer)
        await whole(path, viewer)
        print(f"\n{row.mode}: well after {time.monotonic() - ended:.1f} s", end="")
        server.faults.clear()
        await passes(path, 1)
        await whole(path, viewer)
        assert (viewer.states()[len(before) :] != []) == bool(row.told)


async def test_a_chart_session_that_dies_alone_is_opened_again(
    live: None, server: SimulatorServer, database: Database, cache: LiveCache
) -> None:
    """Over the same connection, whose quotes go on; what it missed meanwhile is filled."""
    path = FeedPath(database, cache, server)
    async with watched(path) as viewer:
        states = viewer.states()
        (chart,) = [id for connection in server._connections.values() for id in connection.charts]
        server.faults.set("critical_error", value=chart)
        await passes(path, HOLE)
        await viewer.until(lambda one: one.last() == path.lasts())
        await flows(path, viewer)
        await whole(path, viewer)
        assert viewer.states() == states


@pytest.fixture
def mongod(database: Database) -> int:
    """Its process, one of this run's own."""
    pid: int = database.collection("symbol").database.command("serverStatus")["pid"]
    return pid


async def test_while_the_store_is_away_quotes_flow_and_closed_bars_wait(
    live: None, server: SimulatorServer, database: Database, mongod: int, cache: LiveCache
) -> None:
    """The stream breaks meanwhile, so that there is a hole to fill as well."""
    path = FeedPath(database, cache, server)
    async with watched(path) as viewer:
        known = len(viewer.closed())
        with store_away(mongod):
            await passes(path, 2)
            await viewer.until(lambda one: one.last() == path.lasts())
            server.faults.set("close")
            await passes(path, HOLE)
            await viewer.until(lambda one: one.last() == path.lasts())
            assert len(viewer.closed()) == known
            assert protocol.decode_feed(cache._client.get(keys.FEED)).waiting_bars > 0
        await whole(path, viewer)


@contextmanager
def store_away(mongod: int) -> Iterator[None]:
    """It takes everything and answers nothing."""
    os.kill(mongod, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(mongod, signal.SIGCONT)


@pytest.mark.parametrize("row", HTTP_ROWS, ids=lambda row: row.mode)
def test_a_fault_of_http(row: HttpRow, server: SimulatorServer, database: Database, cache: LiveCache) -> None:
    """Quotes that the stream does not bring are pulled; what was stored stays until the source is well again."""
    store, path = QuoteStore(database), FeedPath(database, cache, server)
    with path.history() as provider:
        quotes.refresh(provider, FRIDAY_MS)
        before = store.load()
        assert set(before) == set(SYMBOLS)
        later_ms = FRIDAY_MS + 10 * MINUTE_MS
        path.clock.at_ms = later_ms
        server.faults.set(row.mode)
        with pytest.raises(row.error):
            quotes.refresh(provider, later_ms)
        assert store.load() == before
        assert path.budget.state().slower == (2 if row.error is Throttled else 1)
        server.faults.clear()
        quotes.refresh(provider, later_ms)
    lasts = {symbol: quote.last for symbol, (quote, _) in store.load().items()}
    assert lasts == {symbol: path.market.quote(symbol, later_ms).last for symbol in SYMBOLS}


def told_in_words(row: Row) -> str:
    return "live" if not row.told else ", ".join((*row.told, "live"))


def test_every_fault_has_a_row_and_the_document_repeats_them() -> None:
    rows = {row.mode: f"| `{row.mode}` | {row.does} | {told_in_words(row)} |" for row in ROWS}
    rows |= {row.mode: f"| `{row.mode}` | {row.does} | live |" for row in HTTP_ROWS}
    rows |= {mode: f"| `{mode}` | {does} | live |" for mode, does in NOT_ASKED.items()}
    assert set(rows) == set(MODES)
    document = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    table = document.partition("## When the source misbehaves")[2].partition("\n## ")[0]
    assert [line for line in table.splitlines() if line.startswith("| `")] == [rows[mode] for mode in rows]
