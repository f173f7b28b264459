"""Which markets of a connection are silent though they are open: what came of each symbol in → markets out. Pure; used
by `stream`.

A market is all symbols with equal trading hours; where those are unknown, all of one exchange.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from infrastructure.intervals import MINUTE_MS
from infrastructure.tradingview.base import delay_of
from infrastructure.tradingview.hours import TradingHours

QUIET_MS = 15 * MINUTE_MS


@dataclass(slots=True)
class _Symbol:
    heard_ms: int  # when it was asked for, or data of it came last
    hours: TradingHours | None = None  # as the source told with its bars
    update_mode: str = ""
    session: str | None = None  # the source's last word on its market
    session_ms: int = 0  # when that was said, by the source's clock


class Markets:
    """`quiet` outlives the connection: symbols of markets for whose silence one was made anew, and when. They are no
    reason again for QUIET_MS, and not until they bring a change: maybe nobody trades there."""

    def __init__(self, quiet: dict[str, int], silence_ms: int) -> None:
        self._quiet = quiet
        self._silence_ms = silence_ms
        self._symbols: dict[str, _Symbol] = {}
        self._hours: Mapping[str, TradingHours] = {}  # as the platform knows them
        self._markets: list[frozenset[str]] | None = None  # None: to be made anew

    def keep(self, quotes: Set[str], bars: Set[str], hours: Mapping[str, TradingHours], now_ms: int) -> None:
        """Symbols that are asked for, by what is wanted of them; all others are forgotten."""
        for symbol in self._quiet.keys() - (quotes | bars):
            del self._quiet[symbol]
        self._symbols = {symbol: self._symbols.get(symbol) or _Symbol(now_ms) for symbol in quotes | bars}
        for symbol in bars - quotes:
            self._symbols[symbol].session = None  # nobody tells any more when it changes
        self._hours = hours
        self._markets = None

    def quoted(self, symbol: str, changes: Mapping[str, str | None], server_ms: int) -> None:
        """The source's word on a market, where it is among the changes."""
        known = self._symbols[symbol]
        if "session" in changes:
            known.session, known.session_ms = changes["session"], server_ms
        known.update_mode = changes.get("update_mode") or known.update_mode

    def charted(self, symbol: str, hours: TradingHours | None, update_mode: str) -> None:
        known = self._symbols[symbol]
        known.update_mode = known.update_mode or update_mode
        if hours is not None and hours is not known.hours:
            known.hours = hours
            self._markets = None

    def heard(self, symbol: str, now_ms: int, change: bool) -> None:
        """Data came, as an answer or as a change."""
        self._symbols[symbol].heard_ms = now_ms
        if change and self._quiet:
            for market in self._all():
                for one in market & self._quiet.keys() if symbol in market else ():
                    if now_ms - self._quiet[one] >= QUIET_MS:
                        del self._quiet[one]

    def silent(self, now_ms: int, server_ms: int) -> list[frozenset[str]]:
        """Markets that should have brought something since then, by their symbols."""
        heard_ms = now_ms - self._silence_ms
        return [
            market
            for market in self._all()
            if all(self._symbols[symbol].heard_ms <= heard_ms for symbol in market) and self._is_open(market, server_ms)
        ]

    def is_reason(self, market: frozenset[str]) -> bool:
        """Whether the connection should be made anew for its silence."""
        return not market & self._quiet.keys()

    def note(self, markets: Iterable[frozenset[str]], now_ms: int) -> None:
        """The connection is made anew for their silence."""
        for market in markets:
            self._quiet.update(dict.fromkeys(market, now_ms))

    def _all(self) -> list[frozenset[str]]:
        if self._markets is None:
            found: dict[TradingHours | str, list[str]] = {}
            for symbol in self._symbols:
                found.setdefault(self._hours_of(symbol) or exchange_of(symbol), []).append(symbol)
            self._markets = [frozenset(symbols) for symbols in found.values()]
        return self._markets

    def _hours_of(self, symbol: str) -> TradingHours | None:
        return self._symbols[symbol].hours or self._hours.get(symbol)

    def _is_open(self, market: frozenset[str], server_ms: int) -> bool:
        """By the source's last word; by the trading hours where it has said nothing, or nothing since they opened."""
        known = [self._symbols[symbol] for symbol in market]
        if any(one.session == "market" for one in known):
            return True
        hours = self._hours_of(next(iter(market)))
        if hours is None:
            return False
        for delay_s in {delay_of(one.update_mode) for one in known}:
            # Open for as long as the silence lasts: at the bell there has been none yet.
            end_ms = server_ms - delay_s * 1000
            start_ms = end_ms - self._silence_ms
            if hours.is_open(end_ms) and hours.is_open(start_ms):
                words = [one for one in known if delay_of(one.update_mode) == delay_s]
                if any(one.session is None for one in words):
                    return True
                opens_ms = hours.next_open_ms(min(one.session_ms for one in words))
                if opens_ms is not None and opens_ms <= start_ms:
                    return True
        return False


def exchange_of(symbol: str) -> str:
    return symbol.partition(":")[0]
