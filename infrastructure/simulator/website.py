"""The HTTP side of the simulated TradingView: symbol search, scanner, sign-in, pages, and the control of faults."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from infrastructure.simulator import scanner, search, tokens
from infrastructure.simulator.clock import Clock
from infrastructure.simulator.faults import MODES, Faults
from infrastructure.simulator.market import Market
from infrastructure.simulator.options import Options

CONTROL_PATH = "/_simulator/faults"
SESSION_COOKIE = "simulated_session"
_PAGE = "<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def trusted(host: str) -> bool:
    return host == "tradingview.com" or host.endswith(".tradingview.com")


class Website:
    def __init__(self, market: Market, clock: Clock, options: Options, faults: Faults) -> None:
        self._market, self._clock, self._options, self._faults = market, clock, options, faults
        self._scanner = scanner.Scanner(market, clock)

    def routes(self) -> list[web.RouteDef]:
        return [
            *(web.get(f"/{name}{tail}", self._search_list) for name in ("symbol_search",) for tail in ("", "/")),
            *(
                web.get(f"/{name}/v3{tail}", self._search)
                for name in ("symbol_search", "local_search")
                for tail in ("", "/")
            ),
            web.get("/symbol", self._symbol),
            web.get("/{market}/metainfo", self._metainfo),
            web.post("/{market}/scan", self._scan),
            web.get("/{market}/scan", self._scan),
            web.post("/accounts/signin/", self._sign_in),
            *(web.get(path, self._home) for path in ("/", "/disclaimer/", "/chart/")),
            *(web.get(f"/symbols/{{name}}{tail}", self._symbol_page) for tail in ("", "/")),
            web.get(CONTROL_PATH, self._list_faults),
            web.post(CONTROL_PATH, self._set_fault),
            web.delete(CONTROL_PATH, self._clear_faults),
        ]

    @web.middleware
    async def misbehave(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """HTTP faults; the websocket has its own, and the control path none."""
        if self._faults.any and request.path != CONTROL_PATH and not request.path.startswith("/socket.io/"):
            spoilt = self._spoilt(request)
            if spoilt is not None:
                return spoilt
        return await handler(request)

    def _spoilt(self, request: web.Request) -> web.Response | None:
        limited = self._faults.take("http_429")
        if limited:
            return web.Response(
                status=429, headers={"Retry-After": str(limited.value)} if limited.value is not None else {}
            )
        for mode, status in (("http_403", 403), ("http_503", 503)):
            if self._faults.take(mode):
                return _page("Refused", str(status), status=status)
        if self._faults.take("http_html"):
            return _page("Just a moment...", "Checking your browser before accessing")
        if self._faults.take("http_empty"):
            return web.Response(text="")
        if request.path.endswith("/scan") and self._faults.take("scanner_error"):
            return web.json_response({"totalCount": 0, "error": "Internal error", "data": None})
        return None

    async def _search(self, request: web.Request) -> web.Response:
        self._refuse_foreign(request)
        return web.json_response(search.page(self._market, request.query))

    async def _search_list(self, request: web.Request) -> web.Response:
        self._refuse_foreign(request)
        return web.json_response(search.old_list(self._market, request.query))

    async def _scan(self, request: web.Request) -> web.Response:
        body: Any = await request.json() if request.can_read_body else {}
        try:
            return web.json_response(self._scanner.scan(request.match_info["market"], body))
        except scanner.BadRequest as error:
            return web.json_response({"totalCount": 0, "error": str(error)}, status=error.status)

    async def _symbol(self, request: web.Request) -> web.Response:
        fields = [name for name in request.query.get("fields", "").split(",") if name]
        try:
            found = self._scanner.symbol(request.query.get("symbol", ""), fields)
        except scanner.BadRequest as error:
            return web.json_response({"error": str(error)}, status=error.status)
        if found is None:
            if request.query.get("no_404") == "true":
                return web.json_response(None)
            return web.json_response({"code": "symbol_not_exists"}, status=404)
        return web.json_response(found)

    async def _metainfo(self, request: web.Request) -> web.Response:
        try:
            return web.json_response(self._scanner.metainfo(request.match_info["market"]))
        except scanner.BadRequest as error:
            return web.json_response({"error": str(error)}, status=error.status)

    async def _sign_in(self, request: web.Request) -> web.Response:
        form = await request.post()
        if self._faults.take("captcha"):
            return web.json_response(
                {"error": "Please confirm that you are not a robot.", "code": "recaptcha_required"}
            )
        if not form.get("username") or not form.get("password"):
            return web.json_response({"error": "Invalid username or password", "code": "invalid_credentials"})
        user = {
            "id": 1, "username": form["username"], "auth_token": self._token(), "session_hash": "simulated",
            "private_channel": "simulated", "date_joined": "2020-01-01T00:00:00Z",
        }  # fmt: skip
        answer = web.json_response({"error": "", "user": user})
        answer.set_cookie("sessionid", SESSION_COOKIE)
        answer.set_cookie("sessionid_sign", "v3:simulated")
        return answer

    async def _home(self, request: web.Request) -> web.Response:
        if request.cookies.get("sessionid") != SESSION_COOKIE:
            return _page("TradingView", "<script>var user = {};</script>")
        return _page("TradingView", f'<script>var user = {{"id":1,"auth_token":"{self._token()}"}};</script>')

    async def _symbol_page(self, request: web.Request) -> web.Response:
        """`NASDAQ-AAPL` is its address; `NASDAQ:AAPL` leads there too."""
        item = self._market.find(request.match_info["name"].replace("-", ":", 1))
        return _page(item.description, item.name) if item else _page("Not found", "404", status=404)

    async def _list_faults(self, request: web.Request) -> web.Response:
        return web.json_response({"modes": MODES, "on": [dataclasses.asdict(fault) for fault in self._faults.listed()]})

    async def _set_fault(self, request: web.Request) -> web.Response:
        try:
            self._faults.set(**await request.json())
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"error": ""})

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._faults.clear(request.query.get("mode"))
        return web.json_response({"error": ""})

    def _token(self) -> str:
        return tokens.issue(self._clock.now_ms())

    def _refuse_foreign(self, request: web.Request) -> None:
        """Symbol search wants both headers of a page of tradingview.com."""
        if self._options.check_origin:
            hosts = [urlsplit(request.headers.get(name, "")).hostname or "" for name in ("Origin", "Referer")]
            if not all(trusted(host) for host in hosts):
                raise web.HTTPForbidden


def _page(title: str, body: str, status: int = 200) -> web.Response:
    return web.Response(text=_PAGE.format(title=title, body=body), content_type="text/html", status=status)
