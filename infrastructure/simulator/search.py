"""Symbol search, old and v3, over the simulator's instruments. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infrastructure.simulator.instrument import Instrument
from infrastructure.simulator.market import Market

PAGE = 50
#: `search_type` (v3) and `type` (old) → types of instruments.
_TYPES = {
    "stocks": {"stock", "dr"}, "stock": {"stock", "dr"}, "funds": {"fund"}, "futures": {"futures"}, "forex": {"forex"},
    "crypto": {"spot"}, "bitcoin": {"spot"}, "indices": {"index"}, "index": {"index"}, "bonds": {"bond"},
    "economic": {"economic"}, "options": {"option"},
}  # fmt: skip


def page(market: Market, query: Mapping[str, str]) -> dict[str, Any]:
    items = _found(market, query, query.get("search_type", ""))
    start = max(0, int(query.get("start", "0") or 0))
    shown = items[start : start + PAGE]
    return {
        "symbols_remaining": len(items) - start - len(shown) if start < len(items) else 0,
        "symbols": [_row(item, query) for item in shown],
    }


def old_list(market: Market, query: Mapping[str, str]) -> list[dict[str, Any]]:
    return [_row(item, query) for item in _found(market, query, query.get("type", ""))[:PAGE]]


def _found(market: Market, query: Mapping[str, str], kind: str) -> list[Instrument]:
    exchange, colon, ticker = query.get("text", "").upper().partition(":")
    text = ticker if colon else exchange
    exchange = (exchange if colon else query.get("exchange", "")).upper()
    types = _TYPES.get(kind)
    ranked = [
        (rank, item)
        for item in market.instruments
        if (rank := _rank(item, text)) is not None
        and (types is None or item.type in types)
        and exchange in ("", item.prefix, item.full_name.partition(":")[0])
    ]
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]


def _rank(item: Instrument, text: str) -> int | None:
    """Smaller is better; None where it does not match."""
    names = (_root(item), *(name.partition(":")[2] for name in item.aliases))
    if item.ticker == text or text in names:
        return 0
    if item.ticker.startswith(text):
        return 1
    return 2 if text in item.ticker or text in item.description.upper() else None


def _root(item: Instrument) -> str:
    """Continuous futures are found by their root: ES for ES1!."""
    return re.sub(r"\d!$", "", item.ticker)


def _row(item: Instrument, query: Mapping[str, str]) -> dict[str, Any]:
    def marked(value: str) -> str:
        text = re.escape(query.get("text", "").partition(":")[2] or query.get("text", ""))
        return (
            re.sub(f"({text})", r"<em>\1</em>", value, flags=re.IGNORECASE)
            if text and query.get("hl") == "1"
            else value
        )

    country = {"country": item.country} if item.country else {}
    row: dict[str, Any] = {
        "symbol": marked(_root(item)),
        "description": marked(item.description),
        "type": item.type,
        "exchange": item.exchange or item.prefix,
        "found_by_isin": False,
        "found_by_cusip": False,
        "currency_code": item.currency,
        "logoid": "",
        "provider_id": "simulator",
        "source_logoid": f"source/{item.prefix}",
        "source2": {"id": item.prefix, "name": item.prefix, "description": item.prefix},
        "source_id": item.prefix,
        **country,
        "is_primary_listing": True,
        "typespecs": list(item.typespecs),
    }
    if item.isin:
        row["isin"] = item.isin
    if item.type == "futures":
        contract = {"symbol": item.ticker, "description": item.description, "typespecs": list(item.typespecs)}
        row |= {"exchange": item.display_exchange, "prefix": item.prefix, "contracts": [contract]}
    return row
