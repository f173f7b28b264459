"""One websocket of the simulated TradingView: reads messages, answers, sends heartbeats, misbehaves when told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import WSMsgType, web

from infrastructure.simulator import tokens, wire
from infrastructure.simulator.chart import ChartSession
from infrastructure.simulator.clock import Clock
from infrastructure.simulator.faults import Fault, Faults
from infrastructure.simulator.market import Market
from infrastructure.simulator.options import Options
from infrastructure.simulator.quotes import QuoteSession
from infrastructure.simulator.spoiling import Spoiler
from infrastructure.simulator.tape import Tape

#: Arguments of a message that do not fit.
MISFITS = (TypeError, KeyError, IndexError, ValueError, AttributeError, OverflowError)


class Connection:
    def __init__(
        self, number: int, socket: web.WebSocketResponse, transport: asyncio.Transport | None,
        market: Market, tape: Tape, clock: Clock, options: Options, faults: Faults,
    ) -> None:  # fmt: skip
        self.number, self.market, self.tape, self.clock, self.options = number, market, tape, clock, options
        self.faults = faults
        self.paid = False
        self.token_expires_ms: int | None = None
        self.charts: dict[str, ChartSession] = {}
        self.quotes: dict[str, QuoteSession] = {}
        self._socket, self._transport = socket, transport
        self._spoiler = Spoiler(faults, number)
        self._out: deque[str] = deque()
        self._pending = 0
        self._closing = False  # once what waits is sent
        self._wake = asyncio.Event()
        self._beats = 0
        self._echo_at = asyncio.get_running_loop().time()
        self._answers = self._handlers()

    async def run(self) -> None:
        skew = self.faults.take("clock_skew", None, self.number)
        now_ms = self.clock.now_ms() + (int(skew.value * 1000) if skew else 0)
        self._queue(wire.hello(self.number, now_ms))
        tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._heartbeat())]
        try:
            await self._read()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for id in (*self.charts, *self.quotes):
                self._end_session(id)

    def send(self, frame: str, symbol: str | None = None) -> None:
        """Queue a frame of data; `symbol` is the instrument it is about, for faults of that one."""
        if self.token_expires_ms is not None and self.clock.now_ms() >= self.token_expires_ms:
            return
        if self.faults.any:
            if self._muted(symbol):
                return
            frame = self._spoiler.frame(frame, symbol)
        self._queue(frame)

    async def pause(self) -> None:
        if self.options.answer_delay_s:
            await asyncio.sleep(self.options.answer_delay_s)

    def critical_error(self, session: str, reason: str, method: str, arguments: list[Any]) -> None:
        """That session is over; the others and the connection go on."""
        detail = f"method: {method}. args: {wire.text(wire.text(arguments))}"
        self.send(wire.message("critical_error", [session, reason, detail]))
        self._end_session(session)

    def act(self, fault: Fault) -> None:
        """A fault of the kind that happens at once."""
        if fault.connection not in (None, self.number):
            return
        if fault.mode == "close":
            self._abort()
        elif fault.mode == "reset":
            self._reset()
        elif fault.mode == "protocol_error":
            self._protocol_error(str(fault.value or "max sessions rate reached"))
        elif fault.mode == "critical_error":
            for session in [id for id in (*self.charts, *self.quotes) if fault.value in (None, id)]:
                self.critical_error(session, "invalid_parameters", "simulated", [])
        elif fault.mode == "unknown_message":
            self._queue(wire.message("simulated_news", [fault.value or "something new"]))
        elif fault.mode == "huge_frame":
            self._queue(wire.message("simulated_news", ["x" * (fault.value or 2 * 2**20)]))

    def _muted(self, symbol: str | None) -> bool:
        modes = ["silence", "heartbeats_only"] + (["token_expired"] if self.paid else [])
        return any(self.faults.take(mode, symbol, self.number) for mode in modes)

    def _queue(self, frame: str) -> None:
        self._out.append(frame)
        self._pending += len(frame)
        if self._pending > self.options.max_pending_chars:
            self._abort()
        self._wake.set()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._out:
                    await self._send_waiting()
                if self._closing:
                    await self._socket.close()
                    return

    async def _send_waiting(self) -> None:
        count = len(self._out) if self.options.batching else 1
        frames = [self._out.popleft() for _ in range(count)]
        self._pending -= sum(map(len, frames))
        if self.faults.any:
            frames = self._spoiler.batch(frames)
            if len(frames) > 1 and self.faults.take("close_mid_batch", None, self.number):
                await self._socket.send_str("".join(frames[: len(frames) // 2]))
                self._abort()
                return
            drip = self.faults.take("slow_drip", None, self.number)
            if drip and self._transport:
                await self._spoiler.drip(self._transport, "".join(frames), float(drip.value or 1000))
                return
        await self._socket.send_str("".join(frames))

    async def _heartbeat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.options.heartbeat_s)
            if loop.time() - self._echo_at > max(self.options.echo_timeout_s, self.options.heartbeat_s):
                await self._socket.close()
                return
            self._beats += 1
            if not self.faults.take("silence", None, self.number):
                self._queue(wire.frame(f"~h~{self._beats}"))

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT or self._closing:
                continue
            try:
                for payload in wire.payloads(message.data):
                    await self._take(payload)
            except (wire.BadFrame, ValueError):
                self._protocol_error("wrong data")

    async def _take(self, payload: str) -> None:
        if payload.startswith("~h~"):
            self._echo_at = asyncio.get_running_loop().time()
            return
        body = wire.loads(payload)
        if not isinstance(body, dict) or not isinstance(body.get("p", []), list):
            raise ValueError(payload)
        method, parameters = body.get("m"), body.get("p", [])
        answer = self._answers.get(str(method))
        if answer is None:  # the real server ignores what it does not know
            return
        try:
            result = answer(*parameters)
            if result is not None:
                await result
        except MISFITS:
            self.critical_error(str(parameters[0]) if parameters else "", "invalid_parameters", str(method), parameters)

    def _handlers(self) -> dict[str, Callable[..., Awaitable[None] | None]]:
        def chart(method: str) -> Callable[..., Awaitable[None] | None]:
            return lambda id, *rest: getattr(self.charts[id], method)(*rest)

        def quote(method: str) -> Callable[..., None]:
            return lambda id, *names: getattr(self.quotes[id], method)(list(names))

        charts = {
            name: chart(name)
            for name in (
                "create_series", "modify_series", "remove_series", "request_more_data", "request_more_tickmarks",
                "get_first_bar_time", "create_study",
            )
        }  # fmt: skip
        return charts | {
            "set_auth_token": self._authorise,
            "chart_create_session": self._create_chart,
            "chart_delete_session": self._end_session,
            "resolve_symbol": chart("resolve"),
            "quote_create_session": self._create_quotes,
            "quote_delete_session": self._end_session,
            "quote_set_fields": quote("set_fields"),
            "quote_add_symbols": quote("add"),
            "quote_remove_symbols": quote("remove"),
            "quote_fast_symbols": quote("fast"),
            "quote_hibernate_all": lambda id: self.quotes[id].hibernate(),
        }

    def _authorise(self, token: str) -> None:
        known = tokens.read(token, self.options)
        if known is None:
            self._protocol_error("bad auth token")
            return
        self.paid, self.token_expires_ms = known.paid, known.expires_ms

    def _create_chart(self, id: str, *_: Any) -> None:
        if self._may_create(id, "chart_create_session"):
            self.charts[id] = ChartSession(self, id)

    def _create_quotes(self, id: str, *_: Any) -> None:
        if self._may_create(id, "quote_create_session"):
            self.quotes[id] = QuoteSession(self, id)

    def _may_create(self, id: str, method: str) -> bool:
        if id in self.charts or id in self.quotes:
            self.critical_error(id, "duplicate id", method, [id])
        elif len(self.charts) + len(self.quotes) >= self.options.max_sessions:
            self._protocol_error("max sessions rate reached")
        else:
            return True
        return False

    def _end_session(self, id: str) -> None:
        session = self.charts.pop(id, None) or self.quotes.pop(id, None)
        if session is not None:
            session.close()

    def _protocol_error(self, reason: str) -> None:
        self._closing = True
        self._queue(wire.message("protocol_error", [reason]))

    def _abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def _reset(self) -> None:
        """RST instead of FIN."""
        if self._transport:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
