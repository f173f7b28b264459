"""TradingView over HTTP: turns a search text into `SymbolMatch`es and symbols into `Quote`s (protocol sections 13, 14).

Called by `TradingViewProvider`. Needs no login; a session cookie gives the account's own real-time permissions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infrastructure.errors import Malformed, Rejected
from infrastructure.http_client import HttpClient, HttpRejected, Response
from infrastructure.tradingview.base import Quote, SymbolMatch

SEARCH_PAGE = 50  # symbols per answer; not ours to choose
SCAN_BATCH = 400  # tickers per request
NO_VALUE = 1e100  # how TradingView writes "there is none" where a number must stand

#: Quote field of each scanner column that we ask for.
COLUMNS = {
    "close": "last",
    "change_abs": "change",
    "change": "change_percent",
    "open": "open",
    "high": "high",
    "low": "low",
    "volume": "volume",
    "bid": "bid",
    "ask": "ask",
    "update_mode": "update_mode",
    "currency": "currency",
    "description": "description",
}
TEXTS = frozenset(("update_mode", "currency", "description"))

#: Our symbol types are the singular words of `symbol_resolved`; the search has plurals, and its own words for some.
SEARCH_TYPES = {
    "": "undefined",
    "stock": "stocks",
    "dr": "stocks",
    "fund": "funds",
    "index": "indices",
    "bond": "bonds",
    "option": "options",
    "spot": "crypto",
}

_EMPHASIS = re.compile(r"</?em>")
_UNKNOWN_FIELD = re.compile(r'Unknown field "([^"]+)"')


class TradingViewHttp:
    """`cookie` is the value of `sessionid`, or a whole Cookie header; it is sent and never shown."""

    def __init__(self, http: HttpClient, search_url: str, scanner_url: str, origin: str, cookie: str = "") -> None:
        self._http = http
        self._search_url = f"{search_url.rstrip('/')}/symbol_search/v3/"
        self._scan_url = f"{scanner_url.rstrip('/')}/global/scan"
        # Without these two the search answers 403.
        self._headers = {"Origin": origin, "Referer": f"{origin.rstrip('/')}/"}
        if cookie:
            self._headers["Cookie"] = cookie_header(cookie)
        self._columns = tuple(COLUMNS)

    def search(self, text: str, *, type: str = "", exchange: str = "", limit: int = 50) -> list[SymbolMatch]:
        """At most `limit` symbols, the source's best match first; `text` may be `EXCHANGE:TICKER`."""
        before, colon, after = text.partition(":")
        if colon and not exchange:
            exchange, text = before, after
        wanted = {"text": text.strip(), "exchange": exchange.strip(), "search_type": SEARCH_TYPES.get(type, type)}
        found: dict[str, SymbolMatch] = {}
        start = 0
        for _ in range(limit // SEARCH_PAGE + 1):  # a page may repeat rows of the one before, but not for ever
            rows, remaining = self._search_page(wanted, start)
            for match in (match for row in rows for match in matches(row)):
                found.setdefault(match.symbol, match)
            start += len(rows)
            if not rows or remaining <= 0 or len(found) >= limit:
                break
        return list(found.values())[:limit]

    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Present quotes, about a minute old at most; what the scanner does not know is absent."""
        wanted = list(dict.fromkeys(symbols))
        found: dict[str, Quote] = {}
        for start in range(0, len(wanted), SCAN_BATCH):
            found.update(self._scan(wanted[start : start + SCAN_BATCH]))
        return {symbol: found[symbol] for symbol in wanted if symbol in found}

    def _search_page(self, wanted: Mapping[str, str], start: int) -> tuple[list[Any], int]:
        fixed = {"hl": 0, "lang": "en", "domain": "production", "start": start}
        answer = self._ask("GET", self._search_url, params={**wanted, **fixed})
        page = answer.json()
        rows = page.get("symbols") if isinstance(page, dict) else None
        remaining = page.get("symbols_remaining", 0) if isinstance(page, dict) else None
        if not isinstance(rows, list) or not isinstance(remaining, int):
            raise Malformed("The symbol search sent something else than a list of symbols.", answer.text)
        return rows, remaining

    def _scan(self, symbols: list[str]) -> dict[str, Quote]:
        """Columns that this market does not have (often bid and ask) are given up, one a try."""
        while True:
            columns = self._columns
            body = {
                "symbols": {"tickers": symbols, "query": {"types": []}},
                "columns": columns,
                "range": [0, len(symbols)],
            }
            try:
                answer = self._ask("POST", self._scan_url, json=body, retry=True)
            except HttpRejected as refusal:
                answer = refusal.response  # the scanner's errors come with 400 and, at times, with 200
                if answer.status != 400:
                    raise
            page = answer.json()
            error = page.get("error") if isinstance(page, dict) else None
            if not error:
                return quotes_of(page, columns, answer)
            unknown = _UNKNOWN_FIELD.search(str(error))
            if not unknown or unknown[1] not in columns or unknown[1] == "close":
                raise Rejected(f"The scanner refuses the request: {str(error)[:200]}.")
            self._columns = tuple(column for column in columns if column != unknown[1])

    def _ask(self, method: str, url: str, **parts: Any) -> Response:
        try:
            return self._http.request(method, url, headers=self._headers, **parts)
        except HttpRejected as refusal:
            if refusal.response.status == 403:
                raise Rejected(
                    f"{refusal.response.host} answered 403: TradingView refuses this machine's address or the "
                    "TRADINGVIEW_ORIGIN. Data centres are often refused; try from another network."
                ) from refusal
            raise


def cookie_header(cookie: str) -> str:
    """The value of `sessionid`, or a whole Cookie header."""
    return cookie if "=" in cookie else f"sessionid={cookie}"


def matches(row: Any) -> Iterator[SymbolMatch]:
    """One item of a search answer: a symbol, or the contracts of a future. Any field may be missing."""
    if not isinstance(row, dict):
        return
    exchange = _text(row, "exchange")
    # The first word: the venue is called `NYSE Arca` but its symbols `NYSE:…`.
    venue = _text(row, "prefix") or (exchange.split() or [""])[0]
    contracts = row.get("contracts")
    for part in contracts if isinstance(contracts, list) and contracts else [row]:
        ticker = _text(part, "symbol") if isinstance(part, dict) else ""
        if ticker and venue:
            yield SymbolMatch(
                symbol=f"{venue}:{ticker}",
                description=_text(part, "description") or _text(row, "description"),
                type=_text(row, "type"),
                exchange=exchange,
                currency=_text(row, "currency_code"),
                country=_text(row, "country"),
            )


def quotes_of(page: Any, columns: Sequence[str], answer: Response) -> dict[str, Quote]:
    """The rows of a scanner answer, `{s, d: [values in the order of columns]}`; in any order."""
    try:
        pairs = [(str(row["s"]), dict(zip(columns, row["d"], strict=True))) for row in page["data"]]
    except (TypeError, KeyError, ValueError):
        raise Malformed("The scanner sent something else than rows of the columns asked for.", answer.text) from None
    return {symbol: quote_of(symbol, values) for symbol, values in pairs}


def quote_of(symbol: str, values: Mapping[str, Any]) -> Quote:
    """Scanner columns by name; those that a quote has no field for are left out."""
    fields: dict[str, Any] = {field: _value(symbol, field, values.get(column)) for column, field in COLUMNS.items()}
    return Quote(symbol, **fields)


def _value(symbol: str, field: str, value: Any) -> float | str | None:
    if value is None or (field in TEXTS and isinstance(value, str)):
        return value
    if field in TEXTS or isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"The scanner's {field} of {symbol} is neither a value nor empty.", repr(value))
    return None if abs(value) >= NO_VALUE else float(value)


def _text(row: Mapping[str, Any], key: str) -> str:
    """Matches may be marked with <em>, asked for or not."""
    value = row.get(key)
    return _EMPHASIS.sub("", value).strip() if isinstance(value, str) else ""
