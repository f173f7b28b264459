"""tradingview-scraper: history and live prices through its Streamer and RealTimeData. Prints JSON."""

import itertools
import json
import os
import sys
import tempfile
from typing import Any

import requests
import websocket

websocket_url, http_url = sys.argv[1:]
connect, request = websocket.create_connection, requests.Session.request


def to_the_simulator(url: str, **options: Any) -> websocket.WebSocket:
    return connect(websocket_url, **options)


def redirected(self: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
    return request(self, method, url.replace("https://scanner.tradingview.com", http_url), **options)


websocket.create_connection = to_the_simulator
requests.Session.request = redirected

from tradingview_scraper.symbols.stream import RealTimeData, Streamer  # noqa: E402

os.chdir(tempfile.mkdtemp())  # it writes its result into a folder `export`
history = Streamer(export_result=True, export_type="json").stream(
    exchange="BINANCE", symbol="BTCUSDT", timeframe="5m", numb_price_candles=200
)
prices = []
for packet in RealTimeData().get_latest_trade_info(exchange_symbol=["TEST:TICK"]):
    if packet.get("m") == "qsd":
        prices.append(packet["p"][1]["v"].get("lp"))
    if len(prices) >= 4:
        break
live = list(itertools.islice(
    (packet for packet in Streamer().stream(exchange="TEST", symbol="TICK", timeframe="1m", numb_price_candles=3)
     if packet.get("m") in ("timescale_update", "du")), 3,
))  # fmt: skip
print(json.dumps({"history": history["ohlc"], "prices": prices, "live": [packet["p"][1] for packet in live]}))
