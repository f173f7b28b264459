"""A source at a chosen rate: `python -m benchmarks.live.source PORT`, then `rate N` on stdin.

Speaks as much of TradingView's protocol as a stream of quotes needs, in the simulator's own words; the simulator itself
plays a market, whose pace nobody chooses. Each change says in `lp_time`, to the millisecond, when it was sent.
"""

import asyncio
import itertools
import random
import sys
import time
from typing import Any

import uvloop
from websockets.asyncio.server import ServerConnection, serve

from infrastructure.simulator import wire

BEAT_S = 0.005
HEARTBEAT_S = 10.0
STRIDE = 37


class Source:
    def __init__(self) -> None:
        self.rate = 0.0
        self._next = 0
        self._random = random.Random(1)

    async def serve(self, connection: ServerConnection) -> None:
        names: list[str] = []
        session = ""
        await connection.send(wire.hello(1, time.time_ns() // 1_000_000))
        telling = asyncio.ensure_future(self._tell(connection, names, lambda: session))
        try:
            async for text in connection:
                for payload in wire.payloads(str(text)):
                    if payload.startswith("~h~"):
                        continue
                    body = wire.loads(payload)
                    if body["m"] == "quote_add_symbols":
                        session, *added = body["p"]
                        for name in added:
                            await connection.send(self._quote(session, name, full=True))
                        names += added
        finally:
            telling.cancel()

    async def _tell(self, connection: ServerConnection, names: list[str], session: Any) -> None:
        wake, spoken, heartbeat = time.monotonic(), 0.0, time.monotonic()
        for number in itertools.count():
            wake += BEAT_S
            await asyncio.sleep(max(0.0, wake - time.monotonic()))
            spoken += self.rate * BEAT_S if names else 0.0
            for _ in range(int(spoken)):
                self._next += STRIDE
                await connection.send(self._quote(session(), names[self._next % len(names)]))
            spoken %= 1
            if time.monotonic() - heartbeat > HEARTBEAT_S:
                heartbeat = time.monotonic()
                await connection.send(wire.frame(f"~h~{number}"))

    def _quote(self, session: str, name: str, full: bool = False) -> str:
        last = round(100 + self._random.random(), 2)
        values: dict[str, Any] = {
            "lp": last, "lp_time": time.time_ns() // 1_000_000 / 1000, "ch": round(last - 100, 2),
            "chp": round(last - 100, 4), "volume": self._random.randrange(10**6),
            "bid": last - 0.01, "ask": last + 0.01,
        }  # fmt: skip
        if full:
            values |= {
                "bid_size": 300.0, "ask_size": 200.0, "open_price": 100.5, "high_price": 101.0, "low_price": 99.25,
                "prev_close_price": 100.0, "current_session": "market", "update_mode": "streaming",
                "original_name": name, "currency_code": "USD", "description": "Benchmark",
            }  # fmt: skip
        return wire.message("qsd", [session, {"n": name, "s": "ok", "v": values}])


async def main() -> None:
    source = Source()
    async with serve(source.serve, "127.0.0.1", int(sys.argv[1]), compression=None):
        print('{"ready":1}', flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            source.rate = float(line.split()[1])


if __name__ == "__main__":
    uvloop.run(main())
