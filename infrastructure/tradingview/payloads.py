"""The objects inside TradingView's messages as typed values: changes of a quote, facts of a symbol, bars as columns.

Sections 7–9 of the protocol. Pure; used by `messages`. Fields that nobody needs are skipped without being built, which
is most of the speed.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType, field

from infrastructure.bars import Bars
from infrastructure.errors import Malformed
from infrastructure.tradingview.base import SymbolInfo

#: "No value" on the wire: the volume of an index, an empty plot.
NOTHING = 1e100
MAX_TIME_S = 253_402_300_799  # the last second of the year 9999: a later "time" is none

_Number = float | None | UnsetType
_Text = str | None | UnsetType


class QuoteValues(Struct, frozen=True, gc=False):
    """Field names are `base.Quote`'s, wire names TradingView's. UNSET = not in this message, so unchanged."""

    last: _Number = field(default=UNSET, name="lp")
    last_ms: _Number = field(default=UNSET, name="lp_time")  # seconds on the wire
    change: _Number = field(default=UNSET, name="ch")
    change_percent: _Number = field(default=UNSET, name="chp")
    bid: _Number = UNSET
    ask: _Number = UNSET
    bid_size: _Number = UNSET
    ask_size: _Number = UNSET
    volume: _Number = UNSET
    open: _Number = field(default=UNSET, name="open_price")
    high: _Number = field(default=UNSET, name="high_price")
    low: _Number = field(default=UNSET, name="low_price")
    previous_close: _Number = field(default=UNSET, name="prev_close_price")
    session: _Text = field(default=UNSET, name="current_session")
    update_mode: _Text = UNSET
    venue: _Text = field(default=UNSET, name="original_name")
    currency: _Text = field(default=UNSET, name="currency_code")
    description: _Text = UNSET

    def changes(self) -> dict[str, Any]:
        """By `base.Quote` field name; None = now unknown, as is a time that cannot be one."""
        values: dict[str, Any] = msgspec.to_builtins(self)  # leaves out what is UNSET
        changes = {_OUR_NAMES[name]: value for name, value in values.items()}
        if NOTHING in changes.values():
            changes = {name: None if value == NOTHING else value for name, value in changes.items()}
        if (last_s := changes.get("last_ms")) is not None:
            changes["last_ms"] = round(last_s * 1000) if 0 <= last_s <= MAX_TIME_S else None
        return changes


_OUR_NAMES = {f.encode_name: f.name for f in msgspec.structs.fields(QuoteValues)}
#: What a quote session asks for (`quote_set_fields`); without a list the server sends more than a thousand.
QUOTE_FIELDS = tuple(_OUR_NAMES)


class _Subsession(Struct, frozen=True):
    id: str = ""
    corrections: str | None = field(default="", name="session-correction")


class SymbolFacts(Struct, frozen=True):
    """The info object of `symbol_resolved`, as far as the platform uses it."""

    full_name: str | None = ""
    pro_name: str | None = ""
    exchange: str | None = ""
    listed_exchange: str | None = ""
    description: str | None = ""
    type: str | None = ""
    currency_code: str | None = ""
    timezone: str | None = ""
    session: str | None = ""
    session_holidays: str | None = ""
    subsession_id: str | None = "regular"
    subsessions: list[_Subsession] | None = None
    pricescale: float | None = 100
    minmov: float | None = 1
    fractional: bool | None = False
    has_intraday: bool | None = True
    visible_plots_set: str | None = "ohlcv"
    aliases: list[str] | None = None

    def info(self, symbol: str, update_mode: str = "") -> SymbolInfo:
        """`symbol` is the name it was asked by."""
        corrections = [part.corrections for part in self.subsessions or () if part.id == self.subsession_id]
        return SymbolInfo(
            symbol=symbol,
            full_name=self.full_name or symbol,
            pro_name=self.pro_name or symbol,
            exchange=self.exchange or "",
            listed_exchange=self.listed_exchange or "",
            description=self.description or "",
            type=self.type or "",
            currency=self.currency_code or "",
            timezone=self.timezone or "Etc/UTC",
            session=self.session or "24x7",
            holidays=tuple(filter(None, (self.session_holidays or "").split(","))),
            corrections=(corrections or [None])[0] or "",
            price_scale=int(self.pricescale or 1),
            min_move=int(self.minmov or 1),
            fractional=bool(self.fractional),
            has_intraday=self.has_intraday is not False,
            has_volume=self.visible_plots_set != "ohlc",
            aliases=tuple(self.aliases or ()),
            update_mode=update_mode,
        )


class _Values(Struct, array_like=True, frozen=True, gc=False):
    """What stands behind the volume is left out. No tuple: the garbage collector would watch each of thousands."""

    time_s: float
    open: float
    high: float
    low: float
    close: float
    volume: float = NOTHING


#: One of them in MessagePack: an array's head, then the doubles, each behind a byte that says what it is.
_PACKED = np.dtype(
    {"names": _Values.__struct_fields__, "formats": [">f8"] * 6, "offsets": range(2, 55, 9), "itemsize": 55}
)


class _Point(Struct, frozen=True, gc=False):
    v: _Values
    i: int = 0


class _LastBar(Struct, frozen=True):
    bar_close_time: float | None = None


class SeriesBars(Struct, frozen=True):
    """One object of a `timescale_update` or `du`. That of a study has no `s`."""

    s: list[_Point] = []
    t: str | None = ""
    lbs: _LastBar | None = None

    @property
    def turnaround(self) -> str:
        return self.t or ""

    @property
    def first_number(self) -> int:
        """The smallest number of its bars, which come in order: a first answer counts from 0, older ones go below."""
        return min(self.s[0].i, self.s[-1].i) if self.s else 0

    @property
    def close_ms(self) -> int | None:
        """When the LAST bar closes. At a session's end the server names the second before (…59): section 9."""
        if self.lbs is None or self.lbs.bar_close_time is None:
            return None
        close_s = int(self.lbs.bar_close_time)
        return (close_s + (close_s % 60 == 59)) * 1000

    def bars(self) -> Bars:
        """Ascending, the last of several with one time; those without a price, which are none, left out."""
        return ordered(_columns([point.v for point in self.s]))


def ordered(bars: Bars) -> Bars:
    """Strictly increasing in time; of several bars with one time the last one given."""
    steps = np.diff(bars.time_ms)
    if (steps > 0).all():
        return bars
    order = np.argsort(bars.time_ms, kind="stable")
    times = bars.time_ms[order]
    return bars[order[np.append(times[1:] != times[:-1], True)]]


def _columns(rows: list[_Values]) -> Bars:
    """By way of MessagePack: numpy reads its doubles where they stand, which is much faster than object by object."""
    packed = msgspec.msgpack.encode(rows)
    table = np.frombuffer(packed, _PACKED, offset=len(packed) - len(rows) * _PACKED.itemsize)
    time_s, opens, highs, lows, closes, volume = (table[name].astype(np.float64) for name in _Values.__struct_fields__)
    senseless = np.abs(time_s) > MAX_TIME_S
    if senseless.any():
        raise Malformed("TradingView sent a bar without a time.", str(rows[int(senseless.argmax())]))
    volume[volume >= NOTHING] = np.nan
    bars = Bars(np.rint(time_s * 1000).astype(np.int64), opens, highs, lows, closes, volume)
    priceless = np.logical_or.reduce([price >= NOTHING for price in (opens, highs, lows, closes)])
    return bars[~priceless] if priceless.any() else bars
