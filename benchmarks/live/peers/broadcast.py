"""The same job with `websockets.broadcast`: `python -m benchmarks.live.peers.broadcast PORT REDIS_URL BATCH_MS`.

One frame for each tick, as its documentation shows; with BATCH_MS the newest quotes of so many milliseconds together.
"""

import asyncio
import json
import sys
from collections import defaultdict

import redis.asyncio
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from infrastructure.persistence import keys

watchers: defaultdict[bytes, set[ServerConnection]] = defaultdict(set)
latest: dict[bytes, str] = {}
changed: dict[ServerConnection, set[bytes]] = {}


async def serve_browser(connection: ServerConnection) -> None:
    symbols = [name.encode() for name in json.loads(await connection.recv())["quotes"]]
    changed[connection] = set()
    for symbol in symbols:
        watchers[symbol].add(connection)
    try:
        await connection.wait_closed()
    finally:
        del changed[connection]
        for symbol in symbols:
            watchers[symbol].discard(connection)


async def follow(url: str, batched: bool) -> None:
    async with redis.asyncio.from_url(url, protocol=2) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(keys.LIVE)
        async for message in pubsub.listen():
            if message["type"] != "message":
                continue
            for line in message["data"].split(b"\n"):
                kind, symbol, quote = line.split(b"|", 2)
                if kind != b"q":
                    continue
                if not batched:
                    broadcast(watchers[symbol], quote.decode())
                    continue
                latest[symbol] = quote.decode()
                for connection in watchers[symbol]:
                    changed[connection].add(symbol)


async def flush(every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        for connection, symbols in changed.items():
            if symbols:
                broadcast([connection], f"[{','.join(latest[symbol] for symbol in symbols)}]")
                symbols.clear()


async def main() -> None:
    port, url, batch_ms = sys.argv[1:]
    async with serve(serve_browser, "127.0.0.1", int(port), compression=None, backlog=4096):
        tasks = [follow(url, batch_ms != "0")]
        if batch_ms != "0":
            tasks.append(flush(int(batch_ms) / 1000))
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    uvloop.run(main())
