"""tradingview-ta: the analysis of two symbols on two time frames. Prints JSON."""

import json
import sys

from tradingview_ta import Interval, TA_Handler, get_multiple_analysis, main

_, http_url = sys.argv[1:]
main.TradingView.scan_url = f"{http_url}/"
one = TA_Handler(symbol="AAPL", exchange="NASDAQ", screener="america", interval=Interval.INTERVAL_1_DAY).get_analysis()
many = get_multiple_analysis(
    screener="crypto", interval=Interval.INTERVAL_1_HOUR, symbols=["BINANCE:BTCUSDT", "BINANCE:NOSUCH"]
)
print(
    json.dumps(
        {
            "apple": one.indicators,
            "apple_summary": one.summary,
            "coin": many["BINANCE:BTCUSDT"].indicators,
            "missing": many["BINANCE:NOSUCH"],
        }
    )
)
