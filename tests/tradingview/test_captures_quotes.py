"""Recorded payloads that hold quotes, each decoded and compared with what it says as a whole."""

from pathlib import Path

from infrastructure.tradingview.base import SymbolInfo
from infrastructure.tradingview.messages import Hello, QuoteCompleted, SeriesCompleted, SeriesLoading
from tests.tradingview import recorded
from tests.tradingview.meanings import read, texts_of


def test_a_session_of_2024_with_a_refused_quote(captures: Path) -> None:
    texts = texts_of(captures / "12-aapl-anonymous-2024-with-qsd-error.txt")
    aapl_2024 = SymbolInfo(
        symbol="NASDAQ:AAPL",
        full_name="BATS:AAPL",
        pro_name="NASDAQ:AAPL",
        exchange="Cboe One",
        listed_exchange="NASDAQ",
        description="Apple Inc.",
        type="stock",
        currency="USD",
        timezone="America/New_York",
        session="0930-1600",
        holidays=recorded.HOLIDAYS[:236],
        corrections="0930-1300:20190703,20191129,20191224,20211126,20221125,20230703,20231124,20240703,20241129,"
        "20241224,20250703,20251128,20251224",
        update_mode="streaming",
    )
    assert read(*texts) == [
        Hello("0.8564.902_sfo2-charts-33-webchart-12"),
        SeriesLoading("cs_coolbmbifjpi", "sds_1", "s1"),
        ("cs_coolbmbifjpi", "sds_sym_1", aapl_2024),
        ("qs_ihvygdwgggms", '={"adjustment":"splits","currency-id":"USD"}', "no_such_symbol", {}),
        (
            "qs_ihvygdwgggms",
            "NASDAQ:AAPL",
            "",
            {
                "last": 221.72,
                "last_ms": 1723679998000,
                "change": 0.45,
                "change_percent": 0.2,
                "volume": 41960574.0,
                "session": "out_of_session",
                "update_mode": "streaming",
                "venue": "BATS:AAPL",
                "currency": "USD",
                "description": "Apple Inc.",
            },
        ),
        QuoteCompleted("qs_ihvygdwgggms", "NASDAQ:AAPL"),
        SeriesCompleted("cs_coolbmbifjpi", "sds_1", "streaming", "s1"),
    ]


def test_quotes_of_an_index_a_coin_and_shares(captures: Path) -> None:
    text = (captures / "13-quotes-index-crypto-stock.txt").read_text()
    session = "qs_PL4Mnuk8pRGP"
    common = {"session": "out_of_session", "currency": "USD"}
    assert read(text) == [
        (
            session,
            "NASDAQ:NDX",
            "",
            {
                "last": 14528.3605,
                "last_ms": 1686427872000,
                "change": 43.82,
                "change_percent": 0.3,
                "volume": None,
                "update_mode": "delayed_streaming_900",
                "venue": "NASDAQ_DLY:NDX",
                "description": "NASDAQ 100",
                **common,
            },
        ),
        QuoteCompleted(session, "NASDAQ:NDX"),
        (
            session,
            "SP:SPX",
            "",
            {
                "last": 4298.87,
                "last_ms": 1686341020000,
                "change": 4.95,
                "change_percent": 0.12,
                "volume": 2109000000.0,
                "update_mode": "streaming",
                "venue": "SP:SPX",
                "description": "S&P 500",
                **common,
            },
        ),
        QuoteCompleted(session, "SP:SPX"),
        (
            session,
            "BITSTAMP:BTCUSD",
            "",
            {
                "last": 25753.0,
                "last_ms": 1686475585000,
                "change": -104.0,
                "change_percent": -0.4,
                "volume": 275.62184705,
                "update_mode": "streaming",
                "venue": "BITSTAMP:BTCUSD",
                "description": "Bitcoin / U.S. dollar",
                "session": "market",
                "currency": "USD",
            },
        ),
        QuoteCompleted(session, "BITSTAMP:BTCUSD"),
        (
            session,
            "NASDAQ:AAPL",
            "",
            {
                "last": 180.96,
                "last_ms": 1686355199000,
                "change": 0.39,
                "change_percent": 0.22,
                "volume": 48899973.0,
                "update_mode": "streaming",
                "venue": "BATS:AAPL",
                "description": "Apple Inc.",
                **common,
            },
        ),
        QuoteCompleted(session, "NASDAQ:AAPL"),
        (
            session,
            "NASDAQ:TSLA",
            "",
            {
                "last": 244.4,
                "last_ms": 1686355199000,
                "change": 9.54,
                "change_percent": 4.06,
                "volume": 200242371.0,
                "update_mode": "streaming",
                "venue": "BATS:TSLA",
                "description": "Tesla, Inc.",
                **common,
            },
        ),
        QuoteCompleted(session, "NASDAQ:TSLA"),
    ]
