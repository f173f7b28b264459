"""tradingview-sdk: bars, a quote stream, a bar stream, a search, a quote, a screen. Prints JSON."""

import asyncio
import json
import sys
from typing import Any

from tradingview_sdk import AsyncTradingView, Credentials, QuoteStream, bars, quotes, screener, search
from tradingview_sdk.auth import AuthTokenCache
from tradingview_sdk.bar_stream import BarStream

websocket_url, http_url = sys.argv[1:]
search.SEARCH_URL = f"{http_url}/symbol_search/v3/"
screener.SCANNER_URL = http_url + "/{market}/scan"
quotes.QUOTE_URL = f"{http_url}/symbol"


def plain(rows: Any) -> list[list[float]]:
    return [[bar.time, bar.open, bar.high, bar.low, bar.close, bar.volume] for bar in rows]


async def history() -> dict[str, Any]:
    auth = AuthTokenCache(Credentials())
    return {
        "minutes": plain(await bars.fetch_bars(
            symbol="BINANCE:BTCUSDT", interval="1", bars=12_000, auth=auth, url=websocket_url, timeout=20)),
        "days": plain(await bars.fetch_bars(
            symbol="NASDAQ:AAPL", interval="1D", bars=300, auth=auth, url=websocket_url, timeout=20)),
        "first": plain(await bars.fetch_bars(
            symbol="NASDAQ:NEWCO", interval="1", bars=10**6, auth=auth, url=websocket_url, timeout=20)),
        "index": plain(await bars.fetch_bars(
            symbol="TVC:RUT", interval="60", bars=50, auth=auth, url=websocket_url, timeout=20)),
        "korean": (await bars.fetch_bars(
            symbol="KRX:005930", interval="1W", bars=5, auth=auth, url=websocket_url, timeout=20,
        )).raw["symbol_resolved"]["local_description"],
    }  # fmt: skip


async def streams() -> dict[str, Any]:
    async with QuoteStream(credentials=Credentials(), url=websocket_url) as stream:
        await stream.subscribe("TEST:TICK", "NASDAQ:AAPL")
        seen = 0
        async for _ in stream.updates():
            seen += 1
            if seen >= 6 and stream.snapshot("NASDAQ:AAPL"):
                break
        snapshots = {name: stream.snapshot(name) for name in ("TEST:TICK", "NASDAQ:AAPL")}
    async with BarStream(credentials=Credentials(), url=websocket_url) as stream:
        await stream.subscribe("TEST:TICK", "1")
        live = []
        async for update in stream.updates():
            live.append(plain([update.bar])[0])
            if len(live) >= 5:
                break
    return {"snapshots": snapshots, "live": live}


async def http() -> dict[str, Any]:
    async with AsyncTradingView(credentials=Credentials()) as client:
        found = await client.search_symbols("AAPL")
        quote = await client.get_quote("NASDAQ:AAPL")
        return {
            "search": [match.full_symbol for match in found],
            "close": quote.last,
            "screened": [row.symbol for row in (await client.screen_stocks()).rows],
        }


async def main() -> dict[str, Any]:
    return {**await history(), **await streams(), **await http()}


print(json.dumps(asyncio.run(main()), default=str))
