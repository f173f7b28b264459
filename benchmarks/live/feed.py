"""A feed that speaks at a chosen rate: `python -m benchmarks.live.feed MODE REDIS_URL SYMBOLS`, then commands on stdin.

MODE `blocks` says whole quotes as the real feed does (same encoder, blocks and Redis script); `core` and `pubsub` send
each tick to the group of its symbol through that layer of channels_redis. Each quote says in `ms` when it was made.

    rate N   ticks a second, spread evenly over the symbols; 0 = silent
    reset    starts counting            report   tells how many ticks were said since, and the cores it took
    final    says each symbol once more under one number, and tells it
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable

import msgspec

from infrastructure.persistence.live import LiveCache
from infrastructure.tradingview.base import Quote
from marketdata.live import blocks, protocol
from marketdata.live.blocks import Line
from marketdata.services.feed_report import Feed

BLOCK_S = 0.005
REPORT_S = 1.0
FENCE = 1
STRIDE = 37  # neighbours in time are no neighbours in name


def symbol(number: int) -> str:
    return f"BENCH:S{number:04d}"


class Ticks:
    """One endless row of quotes with as many fields as real ones; `seq` counts them all."""

    def __init__(self, symbols: int) -> None:
        self.seq = 0
        self.symbols = symbols
        self._random = random.Random(1)

    def next(self) -> tuple[str, bytes]:
        self.seq += 1
        return self.quote(self.seq * STRIDE % self.symbols, self.seq)

    def quote(self, number: int, seq: int) -> tuple[str, bytes]:
        now_ms = time.time_ns() // 1_000_000
        last = round(100 + number / 7 + self._random.random(), 2)
        name = symbol(number)
        quote = Quote(
            name, last, now_ms, round(last - 100, 2), round(last - 100, 4), last - 0.01, last + 0.01, 300.0, 200.0,
            1_000_000.0 + seq, 100.5, 199.75, 99.25, 100.0, "market", "streaming", name, "USD", f"Benchmark {number}",
        )  # fmt: skip
        return name, protocol.encode_quote(quote, seq, now_ms)


class Blocks:
    """To the hubs, through the Redis script of the real feed."""

    def __init__(self, url: str) -> None:
        self._cache = LiveCache(url)
        self._reported_at = float("-inf")

    def say(self, ticks: list[tuple[str, bytes]]) -> None:
        lines = [Line(blocks.QUOTE, name.encode(), quote) for name, quote in ticks]
        feed = b""
        if time.monotonic() - self._reported_at > REPORT_S:
            self._reported_at = time.monotonic()
            report = Feed("live", "", 1, time.time_ns() // 1_000_000, "benchmark", True, FENCE, 1)
            feed = protocol.encode(report).encode()
            lines.append(Line(blocks.STATE, b"", feed))
        if lines:
            self._cache.speak(FENCE, blocks.pack(FENCE, lines), dict(ticks), {}, feed)


class Groups:
    """To a group per symbol, as Channels' documentation does; one send after the other."""

    def __init__(self, kind: str, url: str) -> None:
        from channels_redis.core import RedisChannelLayer
        from channels_redis.pubsub import RedisPubSubChannelLayer

        layers = {"core": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}
        self._layer = layers[kind](hosts=[url])
        self._loop = asyncio.new_event_loop()

    def say(self, ticks: list[tuple[str, bytes]]) -> None:
        self._loop.run_until_complete(self._say(ticks))

    async def _say(self, ticks: list[tuple[str, bytes]]) -> None:
        for name, quote in ticks:
            event = {"type": "tick", "data": msgspec.json.decode(quote)}
            await self._layer.group_send(name.replace(":", "."), event)


def speak(ticks: Ticks, say: Callable[[list[tuple[str, bytes]]], None]) -> None:
    """Until stdin ends. What is late is made up for, within one window of a tenth of a second."""
    rate, began, spoken, counted, cpu = 0.0, time.monotonic(), 0.0, 0, time.process_time()
    os.set_blocking(sys.stdin.fileno(), False)
    wake = time.monotonic()
    while True:
        words = sys.stdin.readline().split()
        match words:
            case ["rate", number]:
                rate, spoken = float(number), 0.0
            case ["reset"]:
                began, counted, cpu = time.monotonic(), 0, time.process_time()
            case ["report"]:
                seconds = time.monotonic() - began
                tell(ticks=counted, seconds=seconds, cores=(time.process_time() - cpu) / seconds)
            case ["final"]:
                ticks.seq += 1
                say([ticks.quote(number, ticks.seq) for number in range(ticks.symbols)])
                tell(seq=ticks.seq)
            case ["quit"]:
                return
        wake = max(wake + BLOCK_S, time.monotonic() - 0.1)
        time.sleep(max(0.0, wake - time.monotonic()))
        spoken += rate * BLOCK_S
        say([ticks.next() for _ in range(int(spoken))])
        counted += int(spoken)
        spoken %= 1


def tell(**values: float) -> None:
    print(json.dumps(values), flush=True)


def main() -> None:
    mode, url, symbols = sys.argv[1:]
    to = Blocks(url) if mode == "blocks" else Groups(mode, url)
    ticks = Ticks(int(symbols))
    if isinstance(to, Blocks):
        to.say([ticks.quote(number, 0) for number in range(ticks.symbols)])
    tell(ready=1)
    speak(ticks, to.say)


if __name__ == "__main__":
    main()
