"""The HTTP side of TradingView, played by a server of the test's own."""

from infrastructure.http_client import HttpClient
from infrastructure.tradingview.http import TradingViewHttp
from tests.loopback import Loopback

COOKIE = "s3cr3t"


def against(server: Loopback, http: HttpClient, cookie: str = COOKIE) -> TradingViewHttp:
    return TradingViewHttp(http, server.url, server.url, "https://www.tradingview.com", cookie)
