"""Bar intervals: our names (`1m`, `1h`, `1d`, `1w`, `1M`) and those on TradingView's wire (`1`, `60`, `1D`). Pure."""

from dataclasses import dataclass

from infrastructure.errors import Rejected

MINUTE_MS = 60_000
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Interval:
    """`length_ms` is the time on the clock of an intraday bar; of a day, week or month it is nominal."""

    name: str
    wire: str
    length_ms: int

    @property
    def intraday(self) -> bool:
        return self.length_ms < DAY_MS

    def __str__(self) -> str:
        return self.name


INTERVALS: dict[str, Interval] = {
    name: Interval(name, wire, length_ms)
    for name, wire, length_ms in (
        ("1m", "1", MINUTE_MS),
        ("3m", "3", 3 * MINUTE_MS),
        ("5m", "5", 5 * MINUTE_MS),
        ("15m", "15", 15 * MINUTE_MS),
        ("30m", "30", 30 * MINUTE_MS),
        ("45m", "45", 45 * MINUTE_MS),
        ("1h", "60", 60 * MINUTE_MS),
        ("2h", "120", 120 * MINUTE_MS),
        ("3h", "180", 180 * MINUTE_MS),
        ("4h", "240", 240 * MINUTE_MS),
        ("1d", "1D", DAY_MS),
        ("1w", "1W", 7 * DAY_MS),
        ("1M", "1M", 30 * DAY_MS),
    )
}


def parse_interval(text: str) -> Interval:
    """The interval named `text`; Rejected with the list of names where there is none."""
    try:
        return INTERVALS[text]
    except KeyError:
        raise Rejected(f"There is no interval {text!r}; choose one of {', '.join(INTERVALS)}.") from None


def parse_multiple(text: str) -> Interval:
    """The same, and any other number of minutes or hours below a day: 10m, 6h. Such bars are made of finer ones."""
    count, unit = text[:-1], text[-1:]
    if text not in INTERVALS and count.isdecimal() and unit in ("m", "h"):
        minutes = int(count) * (60 if unit == "h" else 1)
        if 0 < minutes < DAY_MS // MINUTE_MS and text == f"{int(count)}{unit}":
            return Interval(text, str(minutes), minutes * MINUTE_MS)
    return parse_interval(text)
