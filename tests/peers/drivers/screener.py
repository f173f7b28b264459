"""tradingview-screener: shares by price, with the client's own default filters, and one by name. Prints JSON."""

import json
import sys

from tradingview_screener import col, query

_, http_url = sys.argv[1:]
query.URL = http_url + "/{market}/scan"
count, dear = (
    query.Query()
    .select("name", "close", "volume", "RSI|60")
    .where(col("close") > 100)
    .order_by("close", ascending=False)
    .limit(2)
    .get_scanner_data()
)
_, named = query.Query().set_tickers("NASDAQ:AAPL", "NSE:RELIANCE").select("close", "currency").get_scanner_data()
_, markets = query.Query().set_markets("india", "uk").select("close").get_scanner_data()
print(
    json.dumps(
        {
            "count": count,
            "dear": dear.to_dict("records"),
            "named": named.to_dict("records"),
            "markets": markets.to_dict("records"),
        }
    )
)
