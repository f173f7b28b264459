"""A TradingView on loopback: websocket and HTTP on one port, in a thread of its own (tests) or in the foreground."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlsplit

from aiohttp import web

from infrastructure.errors import Unavailable
from infrastructure.simulator.catalogue import CATALOGUE, synthetic
from infrastructure.simulator.clock import Clock, RunningClock
from infrastructure.simulator.connection import Connection
from infrastructure.simulator.faults import Fault, Faults
from infrastructure.simulator.market import Market
from infrastructure.simulator.options import Options
from infrastructure.simulator.tape import Tape
from infrastructure.simulator.website import Website, trusted

WEBSOCKET_PATH = "/socket.io/websocket"
HOST = "127.0.0.1"
START_DEADLINE_S = 30
LONGEST_MESSAGE = 4 * 2**20  # from a client


class SimulatorServer:
    """As a context manager it runs in a thread, and all that is public may be used from outside; `run` blocks.

    `port` 0 picks a free one. `market` is the truth to compare with, `faults` the switches of misbehaviour. `options`
    are the fields of `Options`.
    """

    def __init__(
        self, port: int = 0, seed: int = 1, speed: float = 1.0, clock: Clock | None = None, *, host: str = HOST,
        synthetic_symbols: int = 0, **options: Any,
    ) -> None:  # fmt: skip
        self.host, self.port = host, port
        self.market = Market(seed, (*CATALOGUE, *synthetic(synthetic_symbols)))
        self.clock: Clock = clock or RunningClock(speed)
        self.options = Options(**options)
        self.faults = Faults()
        self._tape = Tape(self.market, self.clock)
        self._connections: dict[int, Connection] = {}
        self._accepted = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None

    @property
    def websocket_url(self) -> str:
        return f"ws://{self.host}:{self.port}{WEBSOCKET_PATH}"

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """Websockets open now."""
        return len(self._connections)

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run_in_thread, args=(ready,), name="simulator", daemon=True)
        self._thread.start()
        if not ready.wait(START_DEADLINE_S) or self._failure is not None:
            raise Unavailable(f"The simulator does not start: {self._failure}.") from self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop:
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread:
            self._thread.join()

    def run(self, ready: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT; `ready` is called once it answers. Unavailable where the port is taken."""
        try:
            asyncio.run(self._serve(ready, (signal.SIGTERM, signal.SIGINT)))
        except OSError as error:
            raise Unavailable(f"The simulator cannot listen on {self.host}:{self.port}: {error.strerror}.") from error

    def _run_in_thread(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(ready.set, ()))
        except Exception as error:  # noqa: BLE001  (handed to the thread that waits)
            self._failure = error
        finally:
            ready.set()

    async def _serve(self, ready: Callable[[], None], signals: tuple[signal.Signals, ...]) -> None:
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        for number in signals:
            loop.add_signal_handler(number, stopping.set)
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        running = asyncio.create_task(self._tape.run())
        try:
            await web.TCPSite(runner, self.host, self.port, backlog=1024).start()
            self.port = runner.addresses[0][1]
            self._loop, self._stopping = loop, stopping
            self.faults.act = self._act_soon
            ready()
            await stopping.wait()
        finally:
            self._loop, self.faults.act = None, lambda fault: None
            running.cancel()
            self._act(Fault("close"))
            await runner.cleanup()

    def _application(self) -> web.Application:
        site = Website(self.market, self.clock, self.options, self.faults)
        app = web.Application(middlewares=[site.misbehave])
        app.router.add_get(WEBSOCKET_PATH, self._accept)
        app.router.add_routes(site.routes())
        return app

    def _act_soon(self, fault: Fault) -> None:
        if self._loop:
            self._loop.call_soon_threadsafe(self._act, fault)

    def _act(self, fault: Fault) -> None:
        for connection in tuple(self._connections.values()):
            connection.act(fault)

    async def _accept(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        self._accepted += 1
        number = self._accepted
        # No compression, as with the real thing; clients' websocket pings are answered.
        socket = web.WebSocketResponse(compress=False, max_msg_size=LONGEST_MESSAGE)
        await socket.prepare(request)
        connection = Connection(
            number, socket, request.transport, self.market, self._tape, self.clock, self.options, self.faults
        )
        self._connections[number] = connection
        try:
            await connection.run()
        finally:
            del self._connections[number]
        return socket

    def _refusal(self, request: web.Request) -> web.Response | None:
        number = self._accepted + 1
        full = 0 < self.options.max_connections <= len(self._connections)
        busy = self.faults.take("handshake_429", None, number)
        if busy or full:
            headers = {"Retry-After": str(busy.value)} if busy and busy.value is not None else {}
            return web.Response(status=429, headers=headers)
        # Some clients send two Origin headers; one good one is enough.
        origins = [urlsplit(origin).hostname or "" for origin in request.headers.getall("Origin", [])]
        foreign = self.options.check_origin and not any(trusted(host) for host in origins)
        if foreign or self.faults.take("handshake_403", None, number):
            return web.Response(status=403)
        return None
