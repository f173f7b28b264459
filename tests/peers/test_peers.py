"""Clients that others wrote get from the simulator, over the wire, exactly what its model says."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS, MINUTE_MS, Interval
from infrastructure.simulator import SimulatorServer

pytestmark = pytest.mark.slow

Drive = Callable[..., Any]
MINUTE, HOUR, DAY = INTERVALS["1m"], INTERVALS["1h"], INTERVALS["1d"]


def columns(rows: list[list[float | None]]) -> Bars:
    """Rows of (seconds, open, high, low, close, volume)."""
    return Bars.from_rows([[(row[0] or 0) * 1000, *(math.nan if v is None else v for v in row[1:])] for row in rows])


def closed(server: SimulatorServer, name: str, interval: Interval, rows: list[list[float | None]]) -> Bars:
    """All bars but the last, which may have been forming; they are the model's, without a gap."""
    bars = columns(rows)[:-1]
    assert bars.same_as(server.market.bars(name, interval, int(bars.time_ms[0]), int(columns(rows).time_ms[-1])))
    return bars


def assert_trades(server: SimulatorServer, name: str, rows: list[list[float | None]]) -> None:
    """Each row is the minute's bar as it stood after one of its trades."""
    item = server.market.symbol(name)
    for open_s, *values in rows:
        trades = server.market.trades(name, int((open_s or 0) * 1000))
        states = [
            [*(ticks * item.minmov / item.pricescale for ticks in row[:4]), row[4] / item.volume_scale]
            for index in range(len(trades.time_ms))
            if (row := trades.row(index))
        ]
        assert values in states


def test_tradingview_sdk_gets_what_the_model_says(drive: Drive, exchange: SimulatorServer) -> None:
    got = drive("sdk.py")
    assert len(got["minutes"]) == 12_000
    closed(exchange, "BINANCE:BTCUSDT", MINUTE, got["minutes"])
    assert len(got["days"]) == 300
    closed(exchange, "NASDAQ:AAPL", DAY, got["days"])
    first = closed(exchange, "NASDAQ:NEWCO", MINUTE, got["first"])
    assert first.time_ms[0] == exchange.market.first_ms("NASDAQ:NEWCO", MINUTE)
    assert closed(exchange, "TVC:RUT", HOUR, got["index"]).volume.tolist() != []
    assert got["korean"] == "삼성전자"
    tick = got["snapshots"]["TEST:TICK"]
    trades = exchange.market.trades("TEST:TICK", tick["lp_time"] * 1000 // MINUTE_MS * MINUTE_MS)
    assert (tick["lp_time"], round(tick["lp"] * 100)) in {
        (ms // 1000, price) for ms, price in zip(trades.time_ms, trades.price, strict=True)
    }
    assert tick["ch"] == pytest.approx(tick["lp"] - tick["prev_close_price"])
    assert got["snapshots"]["NASDAQ:AAPL"]["exchange"] == "Cboe One"
    assert_trades(exchange, "TEST:TICK", got["live"])
    assert got["search"] == ["NASDAQ:AAPL"]
    shares = ["NASDAQ:AAPL", "NASDAQ:META", "NASDAQ:MSFT", "NASDAQ:NEWCO", "NYSE:KO"]
    assert sorted(got["screened"]) == shares


def test_tvkit_gets_what_the_model_says(drive: Drive, exchange: SimulatorServer) -> None:
    got = drive("tvkit_client.py", "2026-11-02", "2026-11-13")
    assert len(got["minutes"]) == 3000
    closed(exchange, "BINANCE:ETHUSDT", MINUTE, got["minutes"])
    start_ms = int(datetime(2026, 11, 2, tzinfo=UTC).timestamp() * 1000)
    end_ms = int(datetime(2026, 11, 14, tzinfo=UTC).timestamp() * 1000)
    assert columns(got["hours"]).same_as(exchange.market.bars("NASDAQ:AAPL", HOUR, start_ms, end_ms))
    assert_trades(exchange, "TEST:TICK", got["live"])


def test_tradingview_scraper_gets_what_the_model_says(drive: Drive, exchange: SimulatorServer) -> None:
    got = drive("scraper.py")
    names = ("timestamp", "open", "high", "low", "close", "volume")
    rows = [[row[name] for name in names] for row in got["history"]]
    assert len(rows) == 200
    closed(exchange, "BINANCE:BTCUSDT", INTERVALS["5m"], rows)
    held, *changes = [packet["sds_1"]["s"] for packet in got["live"]]
    assert [entry["i"] for entry in held] == [0, 1, 2]
    assert_trades(exchange, "TEST:TICK", [entry["v"] for change in changes for entry in change])
    assert len(got["prices"]) == 4
    quote = exchange.market.quote("TEST:TICK", exchange.clock.now_ms())
    assert quote.low is not None and quote.high is not None
    assert all(price is None or quote.low <= price <= quote.high for price in got["prices"])


def test_tradingview_ta_gets_what_the_model_says(drive: Drive, exchange: SimulatorServer) -> None:
    got = drive("ta.py")
    today = exchange.market.history("NASDAQ:AAPL", DAY, 30, exchange.clock.now_ms())
    assert got["apple"]["open"] == today.open[-1]
    assert len(got["apple"]) == 91 and None not in got["apple"].values()
    assert sum(got["apple_summary"][vote] for vote in ("BUY", "SELL", "NEUTRAL")) > 20
    hour = exchange.market.history("BINANCE:BTCUSDT", HOUR, 1, exchange.clock.now_ms())
    assert got["coin"]["open"] == hour.open[0]
    assert got["missing"] is None


def test_tradingview_screener_gets_what_the_model_says(drive: Drive, exchange: SimulatorServer) -> None:
    got = drive("screener.py")
    now_ms = exchange.clock.now_ms()
    prices = {name: exchange.market.quote(f"NASDAQ:{name}", now_ms).last or 0 for name in ("AAPL", "META", "MSFT")}
    dear = sorted(prices, key=lambda name: -prices[name])  # the others are far below a hundred
    assert got["count"] == 3
    assert [row["name"] for row in got["dear"]] == dear[:2]
    assert {row["ticker"]: row["currency"] for row in got["named"]} == {"NASDAQ:AAPL": "USD", "NSE:RELIANCE": "INR"}
    assert {row["ticker"] for row in got["markets"]} == {"NSE:RELIANCE", "LSE:VOD"}
    vodafone = next(row["close"] for row in got["markets"] if row["ticker"] == "LSE:VOD")
    day = exchange.market.history("LSE:VOD", DAY, 1, exchange.clock.now_ms())
    assert day.low[0] <= vodafone <= day.high[0]
