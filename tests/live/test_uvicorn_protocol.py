"""The door for ready-made frames, on a real uvicorn with a real client."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.extensions.permessage_deflate import PerMessageDeflate

from marketdata.live.frames import framed
from marketdata.live.uvicorn_protocol import FrameProtocol, door_of


class Echo:
    """Answers "door" with whether there is one, and anything else with itself, through the door if it opens."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        door = door_of(scope)
        assert door is None or not door.is_open, "before the handshake"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            if message.get("text") == "door":
                await send({"type": "websocket.send", "text": str(door is not None)})
            elif message["type"] == "websocket.receive":
                assert door and door.is_open
                door.write(framed(message["text"].encode()))
        assert door is None or not door.is_open, "after the end"


@asynccontextmanager
async def client(*, deflate: bool, compression: str | None) -> AsyncIterator[ClientConnection]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(
            Echo(), ws=FrameProtocol, ws_per_message_deflate=deflate, lifespan="off", log_config=None
        )
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        async with connect(f"ws://127.0.0.1:{listening.getsockname()[1]}", compression=compression) as connection:
            yield connection
        server.should_exit = True
        await serving


async def test_ready_frames_and_sends_arrive_in_order() -> None:
    async with client(deflate=False, compression=None) as connection:
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
