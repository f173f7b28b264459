"""The door for ready-made frames, on a real uvicorn with a real client."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.extensions.permessage_deflate import PerMessageDeflate

from marketdata.live.frames import framed
from marketdata.live.uvicorn_protocol import FRAMES_BURST, FrameProtocol, door_of

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
EMPTY = b"\x80\0\0\0\0"  # masked, without a byte
PING, PONG, BEGINNING, CONTINUATION = (number + EMPTY for number in (b"\x89", b"\x8a", b"\x01", b"\x00"))
DEADLINE_S = 20  # against a hang


class Echo:
    """Answers "door" with whether it is open, and anything else with itself, through it."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        door = door_of(scope)
        assert door and not door.is_open, "before the handshake"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            if message.get("text") == "door":
                await send({"type": "websocket.send", "text": str(door.is_open)})
            elif message["type"] == "websocket.receive":
                assert door.is_open
                door.write(framed(message["text"].encode()))
        assert not door.is_open, "after the end"


@asynccontextmanager
async def listening(*, deflate: bool = False) -> AsyncIterator[int]:
    """The port of a server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            Echo(), ws=FrameProtocol, ws_per_message_deflate=deflate, lifespan="off", log_config=None
        )
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        yield listening.getsockname()[1]
        server.should_exit = True
        await serving


@asynccontextmanager
async def client(*, deflate: bool = False, compression: str | None = None) -> AsyncIterator[ClientConnection]:
    async with (
        listening(deflate=deflate) as port,
        connect(f"ws://127.0.0.1:{port}", compression=compression) as connection,  # type: ignore[arg-type]
    ):
        yield connection


async def test_ready_frames_and_sends_arrive_in_order() -> None:
    async with client() as connection:
        texts = ["one", "door", "ü" * 40_000, "door", "x" * 300]
        for text in texts:
            await connection.send(text)
        assert [await connection.recv() for _ in texts] == ["one", "True", "ü" * 40_000, "True", "x" * 300]


@pytest.mark.parametrize(("deflate", "compression"), [(True, None), (False, "deflate")])
async def test_the_door_is_open_where_either_side_declines_compression(deflate: bool, compression: str | None) -> None:
    async with client(deflate=deflate, compression=compression) as connection:
        await connection.send("door")
        assert await connection.recv() == "True"


async def test_where_compression_is_agreed_frames_are_compressed_in_small_windows() -> None:
    async with client(deflate=True, compression="deflate") as connection:
        await connection.send("door")
        assert await connection.recv() == "False"
        (agreed,) = connection.protocol.extensions
        assert isinstance(agreed, PerMessageDeflate)
        assert (agreed.local_max_window_bits, agreed.remote_max_window_bits) == (11, 11)


async def test_a_handshake_of_too_many_headers_is_answered_and_ended() -> None:
    async with listening() as port, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE.removesuffix(b"\r\n") + b"A: b\r\n" * 200 + b"\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 431 ")
        writer.close()


async def test_frames_that_are_no_message_are_fine_in_moderation() -> None:
    async with client() as connection:
        for _ in range(50):
            await connection.ping()
            await connection.pong()
        await connection.send(["a"] * 50)
        assert await connection.recv() == "a" * 50


@pytest.mark.parametrize(("first", "more"), [(b"", PING), (b"", PONG), (BEGINNING, CONTINUATION)])
async def test_who_floods_the_server_with_them_is_cut_off(first: bytes, more: bytes) -> None:
    async with listening() as port, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first + more * 2 * FRAMES_BURST)
        with suppress(ConnectionError):
            while await reader.read(4096):
                pass
        writer.close()
