"""3.22: recorded texts of the wire to quotes and columns of bars, beside what other clients make of the same texts.

Recorded from the simulator at the beginning of the run: 5,000 minutes of a coin, and changes of several quotes.
"""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tradingview_sdk import _chart, _protocol
from tradingview_sdk.ws import QuoteStream
from tvkit.api.chart.models.ohlcv import QuoteSymbolData, TimescaleUpdateResponse
from tvkit.api.chart.services.connection_service import _FRAME_SPLIT_RE
from websockets.sync.client import ClientConnection, connect

from benchmarks.harness import alternate
from benchmarks.live.bench import Bench
from benchmarks.live.children import Child, children
from infrastructure.bars import Bars
from infrastructure.simulator import SimulatorServer
from infrastructure.tradingview import frames, messages
from infrastructure.tradingview.base import Quote
from infrastructure.tradingview.messages import QuoteData, SeriesData
from infrastructure.tradingview.payloads import QUOTE_FIELDS
from infrastructure.tradingview.session import ANONYMOUS, Session

RUNS = 7
BARS, QUOTES = 5000, 2000
PASSES = 4
NODE = "Node client"
SERIES = "$prices"  # what the Node client calls its series
NAMES = ("BINANCE:BTCUSDT", "BINANCE:ETHUSDT", "BINANCE:SOLUSDT", "COINBASE:BTCUSD", "BITSTAMP:BTCUSD", "TEST:TICK")
SPECS = [f'={{"session":"regular","symbol":"{name}"}}' for name in NAMES]  # and its symbols
SPEED = 50.0  # quotes change that much faster than in life
RECORD_S = 30.0


def decode(bench: Bench) -> None:
    with SimulatorServer(seed=1, speed=SPEED) as server, talk(server) as socket:
        texts = {"bars": record_bars(socket), "quotes": record_quotes(socket)}
    recording = bench.folder / "recorded.json"
    recording.write_text(json.dumps(texts))
    check(texts)
    with children(bench.folder) as started:
        node = started.start("node", str(Path(__file__).with_name("peers") / "decode_node.mjs"), str(recording), SERIES)
        node.hear()
        taken: dict[str, dict[str, float]] = {}
        for kind, act in ACTS.items():
            sides = {name: repeated(decode, texts[kind]) for name, decode in act.items()}
            seconds = alternate(sides | {NODE: by_node(node, kind)}, RUNS, warm=2)
            taken[kind] = {name: 1000 * value / PASSES for name, value in seconds.items()}
    tell(bench, f"{BARS:,} bars", taken["bars"])
    tell(bench, f"{QUOTES:,} changes of quotes", taken["quotes"])
    both = {name: sum(kind[name] for kind in taken.values()) for name in taken["bars"]}
    tell(bench, "the whole recording", both, goals=("<= 0.3333", "<= 1"))


def tell(bench: Bench, what: str, taken: dict[str, float], goals: tuple[str, str] = ("", "")) -> None:
    fastest = min(taken.keys() - {"ours", NODE}, key=taken.__getitem__)
    for peer, goal in zip((fastest, NODE), goals, strict=True):
        bench.tell(f"3.22 {what} decoded", taken["ours"], "ms", peer=peer, value=taken[peer], goal=goal, runs=RUNS)


# --- recording ---


def talk(server: SimulatorServer) -> ClientConnection:
    socket = connect(server.websocket_url, origin="https://www.tradingview.com", max_size=None)  # type: ignore[arg-type]
    socket.send(messages.request("set_auth_token", ANONYMOUS))
    return socket


def record_bars(socket: ClientConnection) -> list[str]:
    socket.send(messages.request("chart_create_session", "cs_1", ""))
    socket.send(messages.request("resolve_symbol", "cs_1", "s", messages.symbol_spec(NAMES[0])))
    socket.send(messages.request("create_series", "cs_1", SERIES, "s1", "s", "1", BARS, ""))
    return record(socket, "timescale_update", 1)


def record_quotes(socket: ClientConnection) -> list[str]:
    socket.send(messages.request("chart_delete_session", "cs_1"))
    socket.send(messages.request("quote_create_session", "qs_1"))
    socket.send(messages.request("quote_set_fields", "qs_1", *QUOTE_FIELDS))
    socket.send(messages.request("quote_add_symbols", "qs_1", *SPECS))
    return record(socket, "qsd", QUOTES)


def record(socket: ClientConnection, wanted: str, count: int) -> list[str]:
    """Texts as they come, until they hold so many messages of that name."""
    texts, deadline = [], time.monotonic() + RECORD_S
    while count > 0:
        text = str(socket.recv(timeout=deadline - time.monotonic()))
        found = text.count(f'"m":"{wanted}"')
        if found:
            texts.append(text)
            count -= found
    return texts


# --- ours and the peers: texts to bars, texts to the newest quotes ---


def our_bars(texts: list[str]) -> list[Bars]:
    session = Session(ANONYMOUS, random.random)
    found = [message for text in texts for message in session.receive(text, 0)]
    return [
        series.bars() for message in found if isinstance(message, SeriesData) for series in message.objects.values()
    ]


def our_quotes(texts: list[str]) -> dict[str, Quote]:
    session = Session(ANONYMOUS, random.random)
    changes: dict[str, dict[str, Any]] = {}
    for text in texts:
        for message in session.receive(text, 0):
            if isinstance(message, QuoteData):
                changes.setdefault(message.name, {}).update(message.quote.v.changes())
    return {name: Quote(name).merged(fields) for name, fields in changes.items()}


def sdk_bars(texts: list[str]) -> list[Any]:
    bodies = (_protocol.parse_json_message(frame) for text in texts for frame in _protocol.decode_frame(text))
    return [
        _chart.parse_timescale_update(body["p"], SERIES) for body in bodies if body and body["m"] == "timescale_update"
    ]


def sdk_quotes(texts: list[str]) -> dict[str, Any]:
    stream = QuoteStream.__new__(QuoteStream)
    stream._snapshots = {}
    stream._dispatch = lambda update: None
    for text in texts:
        for frame in _protocol.decode_frame(text):
            body = _protocol.parse_json_message(frame)
            if body and body.get("m") == "qsd":
                stream._handle_qsd(body["p"])
    return stream._snapshots


def tvkit_bodies(texts: list[str]) -> list[Any]:
    return [json.loads(frame) for text in texts for frame in _FRAME_SPLIT_RE.split(text) if frame]


def tvkit_bars(texts: list[str]) -> list[Any]:
    bodies = (body for body in tvkit_bodies(texts) if body.get("m") == "timescale_update")
    return [TimescaleUpdateResponse.model_validate(body).ohlcv_bars for body in bodies]


def tvkit_quotes(texts: list[str]) -> list[Any]:
    """It keeps no merged quote: the price of each change."""
    bodies = (body for body in tvkit_bodies(texts) if body.get("m") == "qsd")
    return [QuoteSymbolData.model_validate(body).current_price for body in bodies]


ACTS: dict[str, dict[str, Callable[[list[str]], Any]]] = {
    "bars": {"ours": our_bars, "tradingview-sdk": sdk_bars, "tvkit": tvkit_bars},
    "quotes": {"ours": our_quotes, "tradingview-sdk": sdk_quotes, "tvkit": tvkit_quotes},
}


def check(texts: dict[str, list[str]]) -> None:
    """That they read the same."""
    (mine,), (theirs,), (others,) = our_bars(texts["bars"]), sdk_bars(texts["bars"]), tvkit_bars(texts["bars"])
    closes = mine.close.tolist()
    assert len(closes) >= BARS
    assert closes == [bar.close for bar in theirs] == [bar.close for bar in others]
    quotes, snapshots = our_quotes(texts["quotes"]), sdk_quotes(texts["quotes"])
    assert {name: quote.last for name, quote in quotes.items()} == {name: one["lp"] for name, one in snapshots.items()}
    assert set(quotes) == set(SPECS)
    assert all(frames.decode(text) for text in texts["quotes"])


def repeated(act: Callable[[list[str]], Any], texts: list[str]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(PASSES):
            act(texts)

    return run


def by_node(node: Child, kind: str) -> Callable[[], dict[str, Any]]:
    return lambda: node.ask(f"{kind} {PASSES}")
