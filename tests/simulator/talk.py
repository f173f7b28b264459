"""A plain websocket client for tests of the simulator: frames cut by hand, messages as dictionaries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from infrastructure.bars import Bars
from infrastructure.simulator import ANONYMOUS_TOKEN, SimulatorServer

ORIGIN = "https://www.tradingview.com"
DEADLINE_S = 20

Message = dict[str, Any]


def frames(text: str) -> list[str]:
    """The payloads of a websocket message; lengths are UTF-16 units."""
    found, rest = [], text.encode("utf-16-le")
    while rest:
        head = re.match(r"~m~(\d+)~m~", rest[:40].decode("utf-16-le", "ignore"))
        assert head, text[:80]
        start = 2 * head.end()
        end = start + 2 * int(head[1])
        found.append(rest[start:end].decode("utf-16-le"))
        rest = rest[end:]
    return found


class Talk:
    """`batches` keeps every websocket message as the list of its payloads."""

    def __init__(self, socket: ClientConnection, echo: bool) -> None:
        self.socket, self.echo = socket, echo
        self.batches: list[list[str]] = []
        self.heartbeats: list[str] = []
        self._queue: list[Message] = []

    def send(self, method: str, *parameters: Any) -> None:
        payload = json.dumps({"m": method, "p": list(parameters)}, separators=(",", ":"))
        self.socket.send(f"~m~{len(payload)}~m~{payload}")

    def batch(self) -> list[str]:
        text = self.socket.recv(timeout=DEADLINE_S)
        assert isinstance(text, str)
        payloads = frames(text)
        self.batches.append(payloads)
        for payload in payloads:
            if payload.startswith("~h~"):
                self.heartbeats.append(payload)
                if self.echo:
                    self.socket.send(f"~m~{len(payload)}~m~{payload}")
            else:
                self._queue.append(json.loads(payload))
        return payloads

    def message(self) -> Message:
        while not self._queue:
            self.batch()
        return self._queue.pop(0)

    def until(self, *methods: str) -> list[Message]:
        """All messages up to and with the first of such a kind."""
        found = [self.message()]
        while found[-1].get("m") not in methods:
            found.append(self.message())
        return found


@contextmanager
def talk(server: SimulatorServer, *, token: str = ANONYMOUS_TOKEN, echo: bool = True) -> Iterator[Talk]:
    with connect(server.websocket_url, origin=ORIGIN, max_size=None, proxy=None) as socket:  # type: ignore[arg-type]
        client = Talk(socket, echo)
        client.send("set_auth_token", token)
        yield client


def chart(client: Talk, symbol: str, resolution: str, count: Any = 300, frame: Any = "", session: str = "cs_1") -> None:
    """What every client sends to get bars."""
    client.send("chart_create_session", session, "")
    client.send("resolve_symbol", session, "sym_1", f'={{"symbol":"{symbol}","adjustment":"splits"}}')
    client.send("create_series", session, "sds_1", "s1", "sym_1", resolution, count, frame)


def answer(client: Talk) -> dict[str, Message]:
    """The messages up to the end of an answer, by their kind (the last one of each)."""
    return {message.get("m", "hello"): message for message in client.until("series_completed", "series_error")}


def bars_of(message: Message, series: str = "sds_1") -> Bars:
    rows = [entry["v"] for entry in message["p"][1][series]["s"]]
    return Bars.from_rows([(row[0] * 1000, *row[1:5], row[5] if len(row) > 5 else float("nan")) for row in rows])
