"""What `symbol_resolved` says of an instrument, field for field as in the recorded samples. Pure."""

from typing import Any

from infrastructure.simulator.instrument import Instrument


def symbol_facts(item: Instrument, paid: bool) -> dict[str, Any]:
    """The third parameter of `symbol_resolved`; with a paid token the instrument's own venue answers."""
    full_name = item.name if paid else item.full_name
    exchange = (item.exchange or item.prefix) if paid else item.display_exchange
    return {
        **_names(item, full_name),
        **_venue(item, full_name.partition(":")[0], exchange),
        **_price(item),
        **_time(item),
        **_abilities(item),
        **_optional(item),
    }


def _names(item: Instrument, full_name: str) -> dict[str, Any]:
    return {
        "name": item.ticker,
        "full_name": full_name,
        "pro_name": item.name,
        "base_name": [item.name],
        "legs": [full_name],
        "aliases": list(item.aliases),
        "alternatives": [f"{full_name.partition(':')[0]}_DLY:{item.ticker}"] if item.extended else [],
        "description": item.description,
        "short_description": item.description,
        "local_description": item.local_description or item.description,
        "language": item.language,
        "type": item.type,
        "typespecs": list(item.typespecs),
    }


def _venue(item: Instrument, venue: str, exchange: str) -> dict[str, Any]:
    return {
        "source2": {
            "country": item.country or "US",
            "description": exchange,
            "exchange-type": "exchange",
            "id": venue,
            "name": exchange,
            "url": "",
        },
        "source_id": venue,
        "exchange": exchange,
        "listed_exchange": item.prefix,
        "exchange_listed_name": item.prefix,
        "provider_id": "simulator",
        "country": item.country,
        "pro_perm": item.prefix.lower() if item.venue else "",
    }


def _price(item: Instrument) -> dict[str, Any]:
    return {
        "pricescale": item.pricescale,
        "minmov": item.minmov,
        "minmove2": 0,
        "fractional": False,
        "variable_tick_size": "",
        "pointvalue": 1.0,
        "measure": "price",
        "currency_code": item.currency,
        "currency_id": item.currency,
    }


def _time(item: Instrument) -> dict[str, Any]:
    return {
        "timezone": item.timezone,
        "session": item.session,
        "session_display": item.session,
        "session_holidays": ",".join(item.holidays),
        "subsessions": _subsessions(item),
        "subsession_id": "regular",
    }


def _abilities(item: Instrument) -> dict[str, Any]:
    return {
        "has_intraday": item.has_intraday,
        "has_adjustment": item.type == "stock",
        "has_extended_hours": item.extended,
        "allowed_adjustment": "any" if item.type == "stock" else "none",
        "is_tradable": item.type not in ("index", "economic"),
        "is_replayable": True,
        "is-tickbars-available": item.has_intraday,
        "visible_plots_set": "ohlcv" if item.has_volume else "ohlc",
        "bar_source": "trade",
        "bar_transform": "none",
        "bar_fillgaps": False,
    }


def _optional(item: Instrument) -> dict[str, Any]:
    facts: dict[str, Any] = {"isin": item.isin, "isin-displayed": item.isin} if item.isin else {}
    if item.base_currency:
        facts |= {"base_currency": item.base_currency, "base_currency_id": item.base_currency, "volume_type": "base"}
    return facts


def _subsessions(item: Instrument) -> list[dict[str, Any]]:
    regular = _subsession("regular", "Regular Trading Hours", item.session, corrections=item.corrections)
    if not item.extended:
        return [regular]
    return [
        _subsession("premarket", "Premarket", "0400-0930", private=True),
        regular,
        _subsession("postmarket", "Postmarket", "1600-2000", private=True),
        _subsession("extended", "Extended Trading Hours", "0400-2000"),
    ]


def _subsession(
    id: str, description: str, session: str, *, private: bool = False, corrections: str = ""
) -> dict[str, Any]:
    correction = {"session-correction": corrections} if corrections else {}
    parts = {"description": description, "id": id, "private": private, "session": session}
    return {**parts, **correction, "session-display": session}
