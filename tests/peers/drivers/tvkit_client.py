"""tvkit: bars by count and by range, live bars. Prints JSON."""

import asyncio
import json
import sys
from typing import Any

import httpx
from tvkit.api.chart import ohlcv

websocket_url, http_url, start, end = sys.argv[1:]
ohlcv._STANDARD_WS_URL = ohlcv._PRO_WS_URL = websocket_url
asked = httpx.AsyncClient.get


async def redirected(self: httpx.AsyncClient, url: str, **options: Any) -> httpx.Response:
    return await asked(self, url.replace("https://www.tradingview.com", http_url), **options)


httpx.AsyncClient.get = redirected


def plain(bars: list[Any]) -> list[list[float]]:
    return [[bar.timestamp, bar.open, bar.high, bar.low, bar.close, bar.volume] for bar in bars]


async def main() -> dict[str, Any]:
    async with ohlcv.OHLCV() as client:
        minutes = await client.get_historical_ohlcv("BINANCE:ETHUSDT", "1", bars_count=3000)
    async with ohlcv.OHLCV() as client:
        hours = await client.get_historical_ohlcv("NASDAQ:AAPL", "60", start=start, end=end)
    live = []
    async with ohlcv.OHLCV() as client:
        async for bar in client.get_ohlcv("TEST:TICK", "1", bars_count=3):
            live.append(bar)
            if len(live) >= 8:
                break
    return {"minutes": plain(minutes), "hours": plain(hours), "live": plain(live)}


print(json.dumps(asyncio.run(main())))
