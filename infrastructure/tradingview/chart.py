"""A chart session with one series: what opens, pages and closes it, and what its messages mean. Pure.

Used by `history` (asks and pages back) and `live_series` (keeps the newest bar). One series per chart session, because
that is all that an anonymous client may have (section 11 of the protocol).
"""

from __future__ import annotations

import logging

from infrastructure.bars import Bars
from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.intervals import Interval
from infrastructure.tradingview.base import SymbolInfo, delay_of
from infrastructure.tradingview.hours import TradingHours
from infrastructure.tradingview.messages import (
    CriticalError,
    Parameters,
    SeriesCompleted,
    SeriesData,
    SeriesError,
    SymbolError,
    SymbolResolved,
    symbol_spec,
)
from infrastructure.tradingview.session import Session

logger = logging.getLogger(__name__)

RESOLVE, SERIES, TURNAROUND = "sds_sym_1", "sds_1", "s1"
#: A bar counts as closed so long after its close: its last trades are still on the way.
GRACE_MS = 2000


class Chart:
    """`receive` keeps what was said of the symbol and gives back the bars. Closing times follow the server's clock."""

    def __init__(self, session: Session, symbol: str, interval: Interval) -> None:
        self.symbol = symbol
        self.interval = interval
        self.name = session.new_name("cs_")
        self.info: SymbolInfo | None = None
        self.update_mode = ""
        self.hours: TradingHours | None = None
        self.first_number = 0  # of the bars that came
        self._session = session
        self._said_close: tuple[int, int] | None = None  # (time, close) of the newest bar, as the server says

    def open(self, bars: int, frame: str = "") -> None:
        """The newest bars, or those round a range, `r,<from>:<to>` in seconds."""
        self._session.send("chart_create_session", self.name, "")
        self._session.send("resolve_symbol", self.name, RESOLVE, symbol_spec(self.symbol))
        self._session.send("create_series", self.name, SERIES, TURNAROUND, RESOLVE, self.interval.wire, bars, frame)

    def more(self, bars: int) -> None:
        self._session.send("request_more_data", self.name, SERIES, bars)

    def close(self) -> None:
        """The server counts sessions: what was created is deleted."""
        self._session.send("chart_delete_session", self.name)

    def receive(self, message: Parameters) -> Bars | SeriesCompleted | None:
        """Rejected where the symbol or its interval is refused, Unavailable where only this session died; both end it.

        Bars and completions of another turnaround are answers to an older question, other objects are studies.
        """
        if getattr(message, "session", None) != self.name:
            return None
        match message:
            case SeriesData():
                return self._bars(message)
            case SeriesCompleted(series=series, turnaround=turnaround) if (series, turnaround) == (SERIES, TURNAROUND):
                self.update_mode = message.update_mode
                return message
            case SymbolResolved():
                self.info = message.facts.info(self.symbol)
                self.hours = hours_of(self.info)
            case SymbolError():
                reason = " ".join(str(part) for part in (message.reason, message.more, message.group) if part)
                raise Rejected(f"TradingView has no symbol {self.symbol} for this account: {reason}.")
            case SeriesError():
                raise Rejected(f"TradingView has no {self.interval} bars of {self.symbol}: {message.reason}.")
            case CriticalError():
                raise Unavailable(f"TradingView gave up the {self.interval} bars of {self.symbol}: {message.reason}.")
        return None

    def close_ms(self, open_ms: int) -> int:
        """When the bar that opened then closes at the exchange: said by the server for the newest one, by its own clock
        (a delayed NDX minute closes 960 s after its open: capture 17), else by the trading hours."""
        if self._said_close and self._said_close[0] == open_ms:
            return self._said_close[1] - self._delay_ms
        return self.hours.bar_close_ms(open_ms, self.interval) if self.hours else open_ms + self.interval.length_ms

    def is_closed(self, open_ms: int, now_ms: int) -> bool:
        """A delayed feed runs behind the clock: its minute is over when the delay has passed as well."""
        return self.server_ms(now_ms) - self._delay_ms >= self.close_ms(open_ms) + GRACE_MS

    def server_ms(self, now_ms: int) -> int:
        return self._session.server_ms(now_ms)

    @property
    def _delay_ms(self) -> int:
        return delay_of(self.update_mode) * 1000

    def _bars(self, message: SeriesData) -> Bars | None:
        part = message.objects.get(SERIES)
        if part is None or part.turnaround not in (TURNAROUND, ""):
            return None
        bars = part.bars()
        self.first_number = min(self.first_number, part.first_number)
        if len(bars) and part.close_ms is not None:
            newest = int(bars.time_ms[-1])
            if self._said_close is None or newest >= self._said_close[0]:
                self._said_close = (newest, part.close_ms)
        return bars


def hours_of(info: SymbolInfo) -> TradingHours | None:
    """None where the source's own texts make no sense: bars then close after their nominal length."""
    try:
        return TradingHours.parse(info.session, info.timezone, info.holidays, info.corrections)
    except Malformed as error:
        logger.warning("%s has trading hours that cannot be read: %s", info.symbol, error)
        return None
