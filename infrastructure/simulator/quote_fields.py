"""A quote's fields under their names on the wire: those that stay and those that move with each trade. Pure."""

from typing import Any

from infrastructure.simulator import wire
from infrastructure.simulator.facts import symbol_facts
from infrastructure.simulator.instrument import Instrument
from infrastructure.tradingview.base import Quote


def standing(item: Instrument, paid: bool) -> dict[str, Any]:
    facts = symbol_facts(item, paid)
    kept = (
        "typespecs", "type", "timezone", "subsessions", "subsession_id", "source_id", "source2", "session_holidays",
        "session", "provider_id", "pro_perm", "pro_name", "pricescale", "minmove2", "minmov", "measure",
        "local_description", "listed_exchange", "language", "is_tradable", "fractional", "exchange", "description",
        "currency_id", "currency_code", "base_name", "variable_tick_size", "short_description",
    )  # fmt: skip
    fields = {name: facts[name] for name in kept} | {
        "visible-plots-set": facts["visible_plots_set"],
        "update_mode": item.update_mode,
        "symbol-primaryname": item.name,
        "short_name": item.ticker,
        "original_name": facts["full_name"],
        "logoid": item.ticker.lower(),
        "currency-logoid": f"country/{item.currency[:2]}",
        "format": "price",
        "country_code": item.country,
        "first_bar_time_1d": item.first_ms // 1000,
    }
    if item.base_currency:
        fields |= {"base_currency_id": item.base_currency, "base-currency-logoid": f"crypto/{item.base_currency}"}
    if item.isin:
        fields["isin"] = item.isin
    return fields


def moving(quote: Quote) -> dict[str, Any]:
    fields = {
        "lp": quote.last,
        "lp_time": None if quote.last_ms is None else quote.last_ms // 1000,
        "ch": quote.change,
        "chp": quote.change_percent,
        "volume": wire.NO_VALUE if quote.volume is None else quote.volume,
        "open_price": quote.open,
        "high_price": quote.high,
        "low_price": quote.low,
        "prev_close_price": quote.previous_close,
        "bid": quote.bid,
        "ask": quote.ask,
        "bid_size": quote.bid_size,
        "ask_size": quote.ask_size,
        "current_session": quote.session,
    }
    return {name: value for name, value in fields.items() if value is not None}
