"""Connections that must end, on a real uvicorn: of clients that do not read, say goodbye by halves, or send rubbish."""

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import uvicorn
from channels.testing import WebsocketCommunicator
from pytest_django.fixtures import Settings

from config.asgi import application
from marketdata.live import consumers, hub, process, uvicorn_protocol
from marketdata.live.consumers import LiveConsumer
from marketdata.live.errors import Code
from marketdata.live.hub import HubOptions
from marketdata.live.uvicorn_protocol import FrameProtocol

pytestmark = pytest.mark.usefixtures("live")
SMALL = 4096  # buffers of the kernel, so that little fills them
DEADLINE_S = 20.0
TEXT, PING = 0x1, 0x9


class Served:
    """A server, and the protocols of its connections in order."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.protocols: list[FrameProtocol] = []

    def client(self) -> socket.socket:
        """A websocket that nobody reads."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.connect(("127.0.0.1", self.port))
        key = base64.b64encode(os.urandom(16)).decode()
        client.sendall(
            f"GET /ws/v1/ HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        return client


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        served = Served(listening.getsockname()[1])

        class Kept(FrameProtocol):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                served.protocols.append(self)

        config = uvicorn.Config(
            LiveConsumer.as_asgi(), ws=Kept, ws_ping_interval=None, lifespan="off", log_config=None,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        task = asyncio.ensure_future(server.serve(sockets=[listening]))
        try:
            yield served
        finally:
            server.should_exit = True
            await task


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "AUTH_TIMEOUT_S", 0.2)
    monkeypatch.setattr(hub, "OVER_LIMIT_S", 0.2)
    monkeypatch.setattr(uvicorn_protocol, "LAST_S", 0.2)
    monkeypatch.setattr(process, "HubOptions", partial(HubOptions, busy_limit_s=0.3))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():  # noqa: ASYNC110  a socket of the kernel has no event
            await asyncio.sleep(0.01)


def masked(opcode: int, data: bytes) -> bytes:
    assert len(data) < 126
    return bytes([0x80 | opcode, 0x80 | len(data)]) + bytes(4) + data


async def talk(client: socket.socket, opcode: int, data: bytes, times: int = 1) -> None:
    await asyncio.to_thread(client.sendall, masked(opcode, data) * times)


async def full(served: Served) -> FrameProtocol:
    """The first connection, with something unsent that its client does not take."""
    await until(lambda: bool(process.of_this_loop().hub._connections))
    (connection,) = process.of_this_loop().hub._connections
    protocol = served.protocols[0]
    while protocol.transport.get_write_buffer_size() < 1000:
        connection.post(json.dumps("x" * 1000))
        await asyncio.sleep(0.001)
    return protocol


async def test_who_is_not_let_in_and_reads_no_pongs_is_cut_off(impatient: None, settings: Settings) -> None:
    settings.ANONYMOUS_VIEWING = False
    async with serving() as served:
        with served.client() as client:
            await until(lambda: bool(served.protocols) and served.protocols[0].handshake_complete)
            protocol = served.protocols[0]
            most = 0
            with suppress(OSError):  # it may be cut off before all are said
                for _ in range(100):
                    await talk(client, PING, b"x" * 125, 100)
                    most = max(most, protocol.transport.get_write_buffer_size())
            await until(lambda: protocol.disconnected)
            assert 0 < most < 200_000
            assert process.of_this_loop().addresses.open == {}


async def test_what_waits_for_a_client_that_said_goodbye_by_halves_keeps_nothing_open(impatient: None) -> None:
    async with serving() as served:
        with served.client() as client:
            protocol = await full(served)
            client.shutdown(socket.SHUT_WR)
            await until(lambda: not process.of_this_loop().hub._connections)
            await until(lambda: protocol.disconnected)
            assert process.of_this_loop().addresses.open == {}


async def test_what_waits_for_a_client_without_a_heartbeat_keeps_nothing_open(
    impatient: None, settings: Settings
) -> None:
    settings.LIVE_HEARTBEAT_S = 0.4
    async with serving() as served:
        with served.client():
            protocol = await full(served)
            await until(lambda: protocol.disconnected)
            assert not process.of_this_loop().hub._connections


async def test_a_text_that_is_none_is_refused_with_a_number(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as served:
        with served.client() as client:
            await until(lambda: bool(served.protocols) and served.protocols[0].handshake_complete)
            await talk(client, TEXT, b"\xff\xfe")
            heard = b""
            while b'"code"' not in heard:
                heard += await asyncio.to_thread(client.recv, 65536)
            assert f'"code":{Code.BINARY}'.encode() in heard
    assert not [record for record in caplog.records if record.exc_info]


async def test_another_path_is_refused_at_the_handshake() -> None:
    socket = WebsocketCommunicator(application, "/ws/v0/")
    assert (await socket.connect(timeout=DEADLINE_S))[0] is False
