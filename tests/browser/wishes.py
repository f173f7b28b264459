"""What the clients of the tests watch, and places in the log, in order."""

COIN, BAR = "BINANCE:BTCUSDT", "BINANCE:BTCUSDT@1m"
FIRST = {"epoch": "a", "offset": "10-0"}
LATER = {"epoch": "a", "offset": "20-0"}
LATEST = {"epoch": "a", "offset": "30-0"}
ALL = {"quotes": [COIN], "bars": [BAR]}
