"""TradingView when asked: symbol information and history over a chart session, search and quotes over HTTP.

Made by `marketdata.providers.get_provider` for scheduled pulls, backfills, the admin and the API. No thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, Self

from django.conf import settings
from django.utils.module_loading import import_string

from infrastructure.errors import InfrastructureError, Malformed, Throttled, Unavailable
from infrastructure.http_client import HttpClient
from infrastructure.intervals import INTERVALS, Interval
from infrastructure.tradingview.base import History, IDataProvider, Quote, SymbolInfo, SymbolMatch, refuse_impossible
from infrastructure.tradingview.budget import RequestBudget
from infrastructure.tradingview.config import TradingViewConfig
from infrastructure.tradingview.history import HistoryRequest
from infrastructure.tradingview.http import TradingViewHttp
from infrastructure.tradingview.line import Line, now_ms
from infrastructure.tradingview.messages import Parameters
from infrastructure.tradingview.pace import PACE
from infrastructure.tradingview.session import ANONYMOUS, TokenRefused
from infrastructure.tradingview.tokens import Tokens

#: A connection that rested longer is not used again: nobody answered its heartbeats, which come every 10 s.
RESTS_S = 15.0
#: Threads that fetch side by side read their answers one after the other: one text's thousands of objects are then gone
#: before the next one's are made, and nobody waits longer, as they share one interpreter.
_READING = threading.Lock()


class Pacing(Protocol):
    """When a history request may be made: `Pace` for one process, `RequestBudget` for all."""

    def turn_s(self, pause_s: float) -> float: ...

    def slow_down(self, retry_after_s: float | None) -> None: ...

    def count(self) -> None: ...


class TradingViewProvider(IDataProvider):
    """One connection, kept between calls and opened when needed; usable from several threads, which take turns, but not
    across a fork.

    A page may be asked for long after the one before it; if the server has closed the connection meanwhile, that is
    Unavailable, and the caller asks again for what is older than what it has.
    """

    def __init__(
        self,
        config: TradingViewConfig,
        gate: Callable[[], None] | None = None,
        http: TradingViewHttp | None = None,
        *,
        pace: Pacing = PACE,
    ) -> None:
        self.config = config
        self._gate = gate or (lambda: None)
        self._client = HttpClient(gate=self._counted_gate)
        self._http = http or TradingViewHttp(
            self._client, config.search_url, config.scanner_url, config.origin, config.session_cookie
        )
        self._pace = pace
        self._tokens = Tokens(config, self._counted_gate)
        self._lock = threading.RLock()
        self._line: Line | None = None
        self._opened_with = config
        self._is_renewed = False  # a token was refused and another one was got, since a page came
        self._used_s = 0.0  # when it was last heard of

    @classmethod
    def from_settings(cls) -> Self:
        """At the pace of all processes together."""
        gate = import_string(settings.MARKETDATA_UPSTREAM_GATE)
        return cls(TradingViewConfig.from_settings(), gate, pace=RequestBudget.from_settings())

    def search(self, text: str, *, type: str = "", exchange: str = "", limit: int = 50) -> list[SymbolMatch]:
        with self._slowing_down():
            return self._http.search(text, type=type, exchange=exchange, limit=limit)

    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        with self._slowing_down():
            return self._http.quotes(symbols)

    def resolve(self, symbol: str) -> SymbolInfo:
        """Asks for a bar as well: only a series tells how delayed it is."""
        line, request, page = self._begin(symbol, INTERVALS["1d"], bars=1)
        self._end(line, request)
        return page.info

    def pages(
        self,
        symbol: str,
        interval: Interval,
        *,
        bars: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Iterator[History]:
        refuse_impossible(symbol, bars, start_ms, end_ms)
        return self._pages(symbol, interval, bars=bars, start_ms=start_ms, end_ms=end_ms)

    def close(self) -> None:
        with self._lock:
            self._drop()
        self._client.close()
        self._tokens.close()

    def _pages(self, symbol: str, interval: Interval, **limits: Any) -> Iterator[History]:
        line, request, page = self._begin(symbol, interval, **limits)
        try:
            while True:
                if len(page.bars) or page.forming or not request.more_to_come:
                    yield page
                if not request.more_to_come:
                    return
                page = self._answer(line, request)
        finally:
            self._end(line, request)

    def _begin(self, symbol: str, interval: Interval, **limits: Any) -> tuple[Line, HistoryRequest, History]:
        """Up to the first page. A connection that rested may have died unnoticed, and for a token that is refused there
        may be another one: then once more over a new one."""
        with self._lock:
            while True:
                rested = self._line is not None
                line = self._connected()
                request = HistoryRequest(line.session, symbol, interval, page_bars=self.config.page_bars, **limits)
                try:
                    page = self._answer(line, request)
                    self._is_renewed = False
                    return line, request, page
                except InfrastructureError as error:
                    died = isinstance(error, Unavailable) and self._line is None
                    refused = isinstance(error, TokenRefused) and self._tokens.give_up(self._opened_with)
                    if refused and not self._is_renewed:
                        self._is_renewed = True
                    elif not (rested and died and not request.heard):
                        self._end(line, request)
                        raise

    def _answer(self, line: Line, request: HistoryRequest) -> History:
        """The next page."""
        with self._lock:
            while True:
                if line is not self._line:
                    raise Unavailable(f"The connection to TradingView was lost between two pages of {request.symbol}.")
                self._wait_turn(line)
                request.ask(now_ms())
                with self._slowing_down():
                    page = self._until_answered(line, request)
                if page is not None:
                    return page

    def _wait_turn(self, line: Line) -> None:
        """Heartbeats are answered meanwhile."""
        turn_s = self._pace.turn_s(self.config.pause_s)
        while (left_s := turn_s - time.monotonic()) > 0:
            if (text := self._heard(line, left_s)) is not None:
                self._read(line, text)
        self._gate()

    def _until_answered(self, line: Line, request: HistoryRequest) -> History | None:
        """None: the request must be made again. Unavailable after `timeout_s` without a word about it."""
        page = None
        deadline_s = time.monotonic() + self.config.timeout_s
        while request.waiting:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                self._drop()
                self._tokens.give_up(self._opened_with)
                raise Unavailable(self._silence(request))
            text = self._heard(line, left_s)
            if text is None:
                continue
            with _READING:
                for message in self._read(line, text):
                    if request.concerns(message):
                        deadline_s = time.monotonic() + self.config.timeout_s
                    page = request.receive(message, now_ms()) or page
        with self._dropping():
            line.flush()  # a heartbeat may have come with the answer
        return page

    def _heard(self, line: Line, timeout_s: float) -> str | None:
        """None where nothing came in time."""
        with self._dropping():
            return line.receive(timeout_s)

    def _read(self, line: Line, text: str) -> list[Parameters]:
        with self._dropping():
            found = line.session.receive(text, now_ms())
            self._used_s = time.monotonic()
            for message in found:
                if isinstance(message, Malformed):
                    raise message
            return [message for message in found if not isinstance(message, Malformed)]

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """Any error here is one of the connection, and ends it."""
        try:
            yield
        except InfrastructureError:
            self._drop()
            raise

    def _connected(self) -> Line:
        if self._line and time.monotonic() - self._used_s > RESTS_S:
            self._drop()
        if self._line is None:
            self._counted_gate()
            with self._slowing_down():
                self._opened_with = self._tokens.config()
                self._line = Line.open(self._opened_with)
            self._used_s = time.monotonic()
        return self._line

    def _counted_gate(self) -> None:
        self._gate()
        self._pace.count()

    @contextmanager
    def _slowing_down(self) -> Iterator[None]:
        try:
            yield
        except Throttled as error:
            self._pace.slow_down(error.retry_after_s)
            raise

    def _end(self, line: Line, request: HistoryRequest) -> None:
        with self._lock, suppress(InfrastructureError):
            if line is self._line:
                request.close()
                line.flush()

    def _drop(self) -> None:
        line, self._line = self._line, None
        if line:
            line.close()

    def _silence(self, request: HistoryRequest) -> str:
        why = "" if self.config.auth_token == ANONYMOUS else " So it is with an expired TRADINGVIEW_AUTH_TOKEN."
        return f"TradingView said nothing of {request.symbol} for {self.config.timeout_s:g} s.{why}"
