"""One client's way to fetch the newest minutes of several symbols, some at once, measured in a process of its own.

    python -m benchmarks.history.clients NAME BARS AT_ONCE SYMBOLS   with EXCHANGE_WEBSOCKET and EXCHANGE_HTTP set

Prints JSON: wall and CPU seconds of the fetching alone, the memory it took at most, and for each symbol [bars, first
time, last time, sum of closes]. The last bar is the forming one. The platform's own client stores what it fetched; the
others only hold it.
"""

import asyncio
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Summary = tuple[int, int, int, float]
Client = tuple[Callable[[], Any], Callable[[], dict[str, Summary]]]  # fetches; then sums up

WEBSOCKET, HTTP = os.environ.get("EXCHANGE_WEBSOCKET", ""), os.environ.get("EXCHANGE_HTTP", "")
TIMEOUT_S = 120


def summary(times_s: Sequence[int], closes: Iterable[float]) -> Summary:
    return len(times_s), int(times_s[0]), int(times_s[-1]), math.fsum(closes)


def ours(bars: int, at_once: int, symbols: list[str]) -> Client:
    """As `manage.py backfill` does it: each page is checked, stored and noted before the next is asked for."""
    os.environ |= {"DJANGO_SETTINGS_MODULE": "config.settings", "TRADINGVIEW_WEBSOCKET_URL": WEBSOCKET}
    os.environ["TRADINGVIEW_PAUSE_S"] = "0"
    import django

    django.setup()
    from benchmarks.history.data import MINUTE
    from infrastructure.persistence import Database
    from marketdata.models import BackfillJob
    from marketdata.services import backfill_here, backfill_jobs, series, upstream
    from marketdata.services.side_by_side import Ended

    store = series.store()
    store.ensure()
    for name in ("bar_chunk", "bar_series", "bar_coverage", "backfill_job"):
        Database().collection(name).delete_many({})
    upstream.check()

    def fetch() -> None:
        jobs = [BackfillJob(symbol=symbol, interval="1m", bars=bars - 1) for symbol in symbols]  # but the forming bar
        for job in jobs:
            backfill_jobs.reserve(job)
        with backfill_here.working(jobs, at_once) as threads:
            for _, event in threads:
                if isinstance(event, Ended) and event.error:
                    raise event.error

    def stored() -> dict[str, Summary]:
        found = {one.symbol: store.read(one) for one in store.all_series() if one.interval == MINUTE}
        return {name: summary(got.time_ms // 1000, got.close.tolist()) for name, got in found.items()}

    return fetch, stored


def tvkit(bars: int, at_once: int, symbols: list[str]) -> Client:
    import httpx
    from tvkit.api.chart import ohlcv

    ohlcv._STANDARD_WS_URL = ohlcv._PRO_WS_URL = WEBSOCKET
    asked = httpx.AsyncClient.get

    async def redirected(self: httpx.AsyncClient, url: str, **options: Any) -> httpx.Response:
        return await asked(self, url.replace("https://www.tradingview.com", HTTP), **options)

    httpx.AsyncClient.get = redirected
    got: dict[str, Any] = {}

    async def one(symbol: str) -> None:
        async with ohlcv.OHLCV() as client:
            got[symbol] = await client.get_historical_ohlcv(symbol, "1", bars_count=bars)

    async def all_of_them() -> None:
        await _gathered(at_once, map(one, symbols))

    def summaries() -> dict[str, Summary]:
        return {name: summary([bar.timestamp for bar in b], [bar.close for bar in b]) for name, b in got.items()}

    return lambda: asyncio.run(all_of_them()), summaries


def sdk(bars: int, at_once: int, symbols: list[str]) -> Client:
    from tradingview_sdk import Credentials
    from tradingview_sdk.auth import AuthTokenCache
    from tradingview_sdk.bars import fetch_bars

    got: dict[str, Any] = {}

    async def one(symbol: str, auth: AuthTokenCache) -> None:
        got[symbol] = (
            await fetch_bars(symbol=symbol, interval="1", bars=bars, auth=auth, url=WEBSOCKET, timeout=TIMEOUT_S)
        ).bars

    async def all_of_them() -> None:
        auth = AuthTokenCache(Credentials())
        await _gathered(at_once, (one(symbol, auth) for symbol in symbols))

    def summaries() -> dict[str, Summary]:
        return {name: summary([bar.time for bar in b], [bar.close for bar in b]) for name, b in got.items()}

    return lambda: asyncio.run(all_of_them()), summaries


def tvdatafeed(bars: int, at_once: int, symbols: list[str]) -> Client:
    """It asks once and does not page. Its asynchronous way refuses messages over 1 MiB: so the other one, threaded."""
    import tvDatafeed.main
    import websocket

    connect = websocket.create_connection
    tvDatafeed.main.create_connection = lambda url, **options: connect(WEBSOCKET, **options)
    client = tvDatafeed.main.TvDatafeed()
    minute = tvDatafeed.main.Interval.in_1_minute
    got: dict[str, Any] = {}

    def one(symbol: str) -> None:
        exchange, _, ticker = symbol.partition(":")
        got[symbol] = client.get_hist(ticker, exchange, minute, n_bars=bars)

    def all_of_them() -> None:
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, symbols))

    def summaries() -> dict[str, Summary]:
        times = {name: (frame.index.tz_localize(None).as_unit("s").asi8) for name, frame in got.items()}
        return {name: summary(times[name], frame["close"].tolist()) for name, frame in got.items()}

    return all_of_them, summaries


async def _gathered(at_once: int, works: Iterable[Coroutine[Any, Any, None]]) -> None:
    free = asyncio.Semaphore(at_once)

    async def turn(work: Coroutine[Any, Any, None]) -> None:
        async with free:
            await work

    await asyncio.gather(*map(turn, works))


CLIENTS = {"ours": ours, "tvkit": tvkit, "tradingview-sdk": sdk, "tvdatafeed-enhanced": tvdatafeed}


def _memory_mb(name: str) -> float:
    """Of this process; what getrusage says may be its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1024


def main() -> None:
    name, bars, at_once, *symbols = sys.argv[1:]
    fetch, summaries = CLIENTS[name](int(bars), int(at_once), symbols)
    memory = _memory_mb("VmRSS")
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    fetch()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    grown = _memory_mb("VmHWM") - memory
    print(json.dumps({"wall_s": wall, "cpu_s": cpu, "grown_mb": grown, "got": summaries()}))


if __name__ == "__main__":
    main()
