"""What a platform on simulated data begins with. Pure data; used by setup."""

#: In the order of the default watch list: first those that trade around the clock, so that a page moves at any hour.
SAMPLES = (
    "BINANCE:BTCUSDT",
    "BINANCE:ETHUSDT",
    "BINANCE:SOLUSDT",
    "BINANCE:XRPUSDT",
    "BINANCE:DOGEUSDT",
    "COINBASE:BTCUSD",
    "BITSTAMP:BTCUSD",
    "KRAKEN:ADAUSD",
    "TEST:TICK",
    "FX:EURUSD",
    "CME_MINI:ES1!",
    "NASDAQ:AAPL",
    "NASDAQ:MSFT",
    "NYSE:KO",
    "SP:SPX",
    "LSE:VOD",
    "NSE:RELIANCE",
    "KRX:005930",
)
INTERVALS = ("1m", "5m", "1h", "1d")
STREAMED = ("1m",)
FIRST_BARS = 1500
