"""Trading hours of every kind, and moments as the tests write them."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from infrastructure.tradingview.hours import TradingHours

NEW_YORK = TradingHours.parse(
    "0930-1600", "America/New_York", ["20241128", "20241225"], "0930-1300:20241129,20241224;dayoff:20250109"
)
CRYPTO = TradingHours.parse("24x7", "Etc/UTC")
FUTURE = TradingHours.parse("1700-1600", "America/Chicago")
LUNCH = TradingHours.parse("0930-1130,1300-1500", "Asia/Shanghai")
KOLKATA = TradingHours.parse("0915-1530", "Asia/Kolkata")
LONDON = TradingHours.parse("0800-1630", "Europe/London")
MOSCOW = TradingHours.parse(
    "1900F3-2350F3,1000-1845:2|1900F1-2350F1,1000-1845:3456",
    "Europe/Moscow",
    ["20181112"],
    "1900F4-2350F4,1000-1845:20181113;1000-1400:20181116",
)
AROUND_THE_CLOCK = TradingHours.parse("2000-2000", "America/New_York")
EVERY = {
    "New York": NEW_YORK,
    "crypto": CRYPTO,
    "future": FUTURE,
    "lunch": LUNCH,
    "Kolkata": KOLKATA,
    "London": LONDON,
    "Moscow": MOSCOW,
    "around the clock": AROUND_THE_CLOCK,
    "local midnight": TradingHours.parse("24x7", "America/Havana"),
    "week from Sunday": TradingHours.parse("1;1000-1500:12345", "Asia/Riyadh"),
    "skipped hour": TradingHours.parse("0000-0215,0245-0300,0330-0930:1234567", "America/New_York"),
}


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp()) * 1000


def local(zone: str, *moment: int) -> int:
    return int(datetime(*moment, tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def on(hours: TradingHours, *day: int) -> list[tuple[int, int]]:
    return [(span.open_ms, span.close_ms) for span in hours.spans_on(date(*day))]
