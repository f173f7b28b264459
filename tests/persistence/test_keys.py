from datetime import date

from infrastructure.persistence import keys


def test_each_key_is_its_own_and_carries_the_version() -> None:
    names = [keys.QUOTES, keys.LIVE, keys.FEED, keys.INTEREST, keys.BUDGET]
    names += [keys.LOG, keys.LOG_EPOCH, keys.LOG_MARKS]
    names += [keys.requests(date(2026, 1, 31)), keys.cached("info", "NASDAQ:AAPL", 1)]
    assert names == [
        "md1:quotes", "md1:live", "md1:feed", "md1:interest", "md1:budget", "md1:log", "md1:log-epoch",
        "md1:log-marks", "md1:requests|2026-01-31", "md1:info|NASDAQ:AAPL|1",
    ]  # fmt: skip
