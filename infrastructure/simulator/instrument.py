"""One instrument of the simulated exchange: facts a client can ask for, and numbers that shape its prices. Pure.

`name` is what people type (`NASDAQ:AAPL`); `venue` is where an anonymous client's prices come from (`BATS:AAPL`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from infrastructure.simulator import calendars
from infrastructure.tradingview.hours import TradingHours


@dataclass(frozen=True)
class Instrument:
    name: str
    description: str
    type: str
    typespecs: tuple[str, ...]
    currency: str
    country: str
    timezone: str
    session: str
    price: float  # about where it trades
    pricescale: int
    sigma: float  # of the log price, in a minute
    volume: float  # traded in an average minute
    first: str  # day of the first bar, YYYYMMDD
    ticks: int = 60  # trades shown in a minute; at least 4
    density: float = 1.0  # share of the minutes that see a trade
    minmov: int = 1
    volume_scale: int = 1  # 1 / the smallest volume
    calendar: str = ""
    venue: str = ""
    venue_name: str = ""
    exchange: str = ""
    aliases: tuple[str, ...] = ()
    local_description: str = ""
    language: str = "en"
    base_currency: str = ""
    delay_s: int = 0
    has_volume: bool = True
    has_intraday: bool = True
    quotes_volume: bool = True  # off: the quote's volume is 1e+100, as for an index
    permission: str = ""  # a data group nobody here has: permission_denied
    early_close: str = ""
    extended: bool = False  # has pre-market and post-market hours of a New York share
    sector: str | None = None
    isin: str = ""
    shares: float = 0.0  # outstanding, for the market capitalisation
    path: str = ""  # instruments with the same one move together

    @property
    def prefix(self) -> str:
        return self.name.partition(":")[0]

    @property
    def ticker(self) -> str:
        return self.name.partition(":")[2]

    @property
    def full_name(self) -> str:
        return self.venue or self.name

    @property
    def display_exchange(self) -> str:
        return self.venue_name or self.exchange or self.prefix

    @property
    def update_mode(self) -> str:
        return f"delayed_streaming_{self.delay_s}" if self.delay_s else "streaming"

    @property
    def holidays(self) -> tuple[str, ...]:
        return calendars.holidays(self.calendar)

    @property
    def corrections(self) -> str:
        return calendars.early_closes(self.calendar, self.early_close) if self.early_close else ""

    @cached_property
    def first_ms(self) -> int:
        """The first trading day; bars begin with its session."""
        return int(datetime.strptime(self.first, "%Y%m%d").replace(tzinfo=UTC).timestamp() * 1000)

    @cached_property
    def hours(self) -> TradingHours:
        return TradingHours.parse(self.session, self.timezone, self.holidays, self.corrections)

    @cached_property
    def premarket(self) -> TradingHours:
        return TradingHours.parse("0400-0930", self.timezone, self.holidays)

    @cached_property
    def postmarket(self) -> TradingHours:
        return TradingHours.parse("1600-2000", self.timezone, self.holidays)
