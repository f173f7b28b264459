"""Which token a connection is opened with: the one of the settings, or the one that TradingView's page gives to the
session cookie (section 5 of the protocol), kept in memory until it ends or is given up. Used by `link` and `provider`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import replace

from infrastructure.errors import Rejected
from infrastructure.http_client import HttpClient
from infrastructure.tradingview.config import TradingViewConfig, expires_ms
from infrastructure.tradingview.http import cookie_header
from infrastructure.tradingview.line import now_ms
from infrastructure.tradingview.session import ANONYMOUS

#: A token that ends sooner is not begun with.
SPARE_MS = 60_000

_IN_PAGE = re.compile(rb'"auth_token":"([^"\\]+)"')


class Tokens:
    """Of one account; shared by the threads of its connections. Without a cookie there is nothing to renew."""

    def __init__(self, config: TradingViewConfig, gate: Callable[[], None]) -> None:
        self._config = config
        self._client = HttpClient(gate=gate)
        self._lock = threading.Lock()
        renewable = bool(config.session_cookie and config.site_url)
        self._renewable = renewable
        self._token = "" if renewable and config.auth_token == ANONYMOUS else config.auth_token

    def config(self) -> TradingViewConfig:
        """With the present token. Rejected where the page has none for the cookie."""
        with self._lock:
            if self._renewable and (not self._token or self._ends_soon()):
                self._token = self._ask()
            return replace(self._config, auth_token=self._token)

    def give_up(self, config: TradingViewConfig) -> bool:
        """Its token brought no data, or was refused: the next connection has a new one. False where none can be got."""
        with self._lock:
            if self._renewable and self._token == config.auth_token:
                self._token = ""
        return self._renewable

    def close(self) -> None:
        self._client.close()

    def _ends_soon(self) -> bool:
        end_ms = expires_ms(self._token)
        return end_ms is not None and end_ms - SPARE_MS <= now_ms()

    def _ask(self) -> str:
        headers = {"Cookie": cookie_header(self._config.session_cookie), "Referer": f"{self._config.origin}/"}
        page = self._client.request("GET", f"{self._config.site_url.rstrip('/')}/", headers=headers)
        found = _IN_PAGE.search(page.body)
        if not found:
            raise Rejected(f"{page.host} has no token for the TRADINGVIEW_SESSION_COOKIE: log in and copy it again.")
        return found[1].decode()
