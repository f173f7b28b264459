"""The scanner: rows of chosen columns for instruments that pass filters, as of now. Answers from the market model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS, Interval
from infrastructure.simulator import indicators
from infrastructure.simulator.clock import Clock
from infrastructure.simulator.filters import passes
from infrastructure.simulator.instrument import Instrument
from infrastructure.simulator.market import Market
from infrastructure.tradingview.base import Quote

DEPTH = 320  # bars behind an indicator
_COUNTRIES = {"india": "IN", "uk": "GB", "korea": "KR", "hongkong": "HK"}
_TYPES = {
    "crypto": {"spot"}, "coin": {"spot"}, "forex": {"forex"}, "futures": {"futures"}, "cfd": {"index"},
    "economics2": {"economic"}, "bond": set(), "options": set(),
}  # fmt: skip
_FRAMES = {interval.wire: interval for interval in INTERVALS.values()}
_NAME = re.compile(r"(?P<base>.+?)(\[(?P<back>\d+)\])?(\|(?P<frame>\w+))?")
_MARKETS_WITHOUT_BOOK = {"futures"}


class BadRequest(Exception):
    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


_STANDING: dict[str, Callable[[Instrument], Any]] = {
    "name": lambda item: item.ticker,
    "description": lambda item: item.description,
    "type": lambda item: item.type,
    "subtype": lambda item: item.typespecs[0] if item.typespecs else "",
    "typespecs": lambda item: list(item.typespecs),
    "market": lambda item: next(name for name in (*_TYPES, *_COUNTRIES, "america") if _belongs(item, name)),
    "exchange": lambda item: item.exchange or item.prefix,
    "currency": lambda item: item.currency,
    "country": lambda item: item.country,
    "sector": lambda item: item.sector,
    "update_mode": lambda item: item.update_mode,
    "pricescale": lambda item: item.pricescale,
    "minmov": lambda item: item.minmov,
    "fractional": lambda item: "false",
    "minmove2": lambda item: 0,
    "is_primary": lambda item: True,
    "active_symbol": lambda item: True,
    "is_blacklisted": lambda item: False,
    "logoid": lambda item: "",
    "isin": lambda item: item.isin or None,
    "fundamental_currency_code": lambda item: item.currency,
}
_QUOTED: dict[str, Callable[[Instrument, Quote], Any]] = {
    "bid": lambda item, quote: quote.bid if quote.session == "market" else None,
    "ask": lambda item, quote: quote.ask if quote.session == "market" else None,
    "market_cap_basic": lambda item, quote: item.shares * (quote.last or 0) or None,
    "price_earnings_ttm": lambda item, quote: 20.5 if item.shares else None,
}
#: The real one has thousands more; these are what clients ask for by default. None of the instruments has them.
_BLANK = frozenset({
    "relative_volume_10d_calc", "earnings_per_share_diluted_ttm", "earnings_per_share_basic_ttm", "industry",
    "dividends_yield_current", "recommendation_mark", "number_of_employees", "premarket_close", "premarket_change",
    "premarket_change_abs", "premarket_volume", "postmarket_close", "postmarket_change", "postmarket_change_abs",
    "postmarket_volume", "aum", "expense_ratio", "fund_flows.1M", "asset_class.tr", "24h_vol_cmc",
})  # fmt: skip
_BAR = ("open", "high", "low", "close", "volume", "change", "change_abs")


class Scanner:
    def __init__(self, market: Market, clock: Clock) -> None:
        self._market, self._clock = market, clock

    def scan(self, market: str, body: Any) -> dict[str, Any]:
        body = body if isinstance(body, dict) else {}
        rows = [Row(self._market, item, self._clock.now_ms()) for item in self._members(market, body)]
        columns = body.get("columns") or ["name", "close"]
        if market in _MARKETS_WITHOUT_BOOK and {"bid", "ask"} & set(columns):
            raise BadRequest('Unknown field "bid"')
        for name in columns:
            _check(name)
        rows = [row for row in rows if passes(body, row.value)]
        self._sort(rows, body.get("sort"))
        first, last = (body.get("range") or [0, len(rows)])[:2]
        shown = rows[first:last]
        return {
            "totalCount": len(rows),
            "data": [{"s": row.item.name, "d": [row.value(name) for name in columns]} for row in shown],
        }

    def symbol(self, name: str, fields: list[str]) -> dict[str, Any] | None:
        item = self._market.find(name)
        if item is None or item.permission:
            return None
        for field in fields:
            _check(field)
        row = Row(self._market, item, self._clock.now_ms())
        return {field: row.value(field) for field in sorted(fields)}

    def metainfo(self, market: str) -> dict[str, Any]:
        self._members(market, {})
        names = [*_STANDING, *_QUOTED, *_BAR, "RSI", "MACD.macd", "MACD.signal", "Recommend.All", "SMA20", "EMA20"]
        texts = ("name", "description", "type", "subtype", "exchange", "currency", "country", "sector", "update_mode")
        fields = [{"n": name, "t": "text" if name in texts else "number", "r": None} for name in names]
        return {"financial_currency": "USD", "fields": fields}

    def _members(self, market: str, body: dict[str, Any]) -> list[Instrument]:
        symbols = body.get("symbols") or {}
        tickers = {str(name).upper() for name in symbols.get("tickers") or ()}
        wanted = body.get("markets") if market == "global" else [market]
        return [
            item
            for item in self._market.instruments
            if not item.permission
            and (not tickers or item.name in tickers)
            and (not wanted or any(_belongs(item, name) for name in wanted))
        ]

    @staticmethod
    def _sort(rows: list[Row], sort: Any) -> None:
        if not isinstance(sort, dict) or "sortBy" not in sort:
            return
        name = sort["sortBy"]
        _check(name)
        values = [row for row in rows if row.value(name) is not None]
        nulls = [row for row in rows if row.value(name) is None]
        values.sort(key=lambda row: row.value(name), reverse=sort.get("sortOrder") == "desc")
        rows[:] = [*nulls, *values] if sort.get("nullsFirst") else [*values, *nulls]


class Row:
    """The columns of one instrument, each computed when first asked for."""

    def __init__(self, market: Market, item: Instrument, now_ms: int) -> None:
        self.item, self._market, self._now_ms = item, market, now_ms
        self._quote = market.quote(item.name, now_ms)
        self._bars: dict[Interval, Bars] = {}
        self._values: dict[str, Any] = {}

    def value(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = self._computed(name)
        return self._values[name]

    def _computed(self, name: str) -> Any:
        base, back, interval = _check(name)
        if base in _BLANK:
            return None
        if base in _STANDING:
            return _STANDING[base](self.item)
        if base in _QUOTED:
            return _QUOTED[base](self.item, self._quote)
        if base.startswith("Pivot."):
            return self._pivot(base)
        bars = self._history(interval)
        if base in ("change", "change_abs"):
            return self._change(bars, back, base == "change")
        values = getattr(bars, base) if base in _BAR else indicators.column(base, bars)
        return _number(values[-1 - back]) if values is not None and back < len(values) else None

    def _history(self, interval: Interval) -> Bars:
        if interval not in self._bars:
            self._bars[interval] = self._market.history(self.item.name, interval, DEPTH, self._now_ms)
        return self._bars[interval]

    @staticmethod
    def _change(bars: Bars, back: int, percent: bool) -> float | None:
        if len(bars) < back + 2:
            return None
        before, now = float(bars.close[-2 - back]), float(bars.close[-1 - back])
        return (now - before) / before * 100 if percent else now - before

    def _pivot(self, name: str) -> float | None:
        months = self._history(INTERVALS["1M"])
        if len(months) < 2:
            return None
        before = next(iter(months[-2:-1]))
        return indicators.pivot(name, before.open, before.high, before.low, before.close)


def _check(name: str) -> tuple[str, int, Interval]:
    """Base, bars back and time frame of a column's name; BadRequest for an unknown one."""
    found = _NAME.fullmatch(name) if isinstance(name, str) else None
    interval = _FRAMES.get((found["frame"] or "1D") if found else "")
    base = found["base"] if found else ""
    known = (
        base in _STANDING or base in _QUOTED or base in _BAR or base in _BLANK or indicators.known(base)
        or (base.startswith("Pivot.") and indicators.pivot(base, 1, 2, 1, 1) is not None)
    )  # fmt: skip
    if not found or interval is None or not known:
        raise BadRequest(f'Unknown field "{name}"')
    return base, int(found["back"] or 0), interval


def _belongs(item: Instrument, market: str) -> bool:
    if market == "global":
        return True
    if market == "america":
        return item.type in ("stock", "fund", "dr") and item.country == "US"
    if market in _TYPES:
        return item.type in _TYPES[market]
    if market in _COUNTRIES:
        return item.type == "stock" and item.country == _COUNTRIES[market]
    raise BadRequest(f"Unknown market {market!r}", status=404)


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
