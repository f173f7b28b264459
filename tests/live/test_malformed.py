"""What no client should send, over a real socket to each web server: a numbered error, never a traceback."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from infrastructure.persistence import Database
from marketdata.live.consumers import MESSAGES_BURST
from marketdata.live.errors import Code
from tests.live.platform import DEADLINE_S, ManagePy
from tests.live.schema import checked
from tests.persistence.conftest import RedisServer
from tests.servers import free_port

DEEP = "[" * 20_000 + "]" * 20_000
REFUSED: list[tuple[str | bytes, Code]] = [
    ("", Code.NOT_JSON),
    ("nope", Code.NOT_JSON),
    ('{"op":"subscribe"', Code.NOT_JSON),
    ('{"op":"reset","id":"\\ud800"}', Code.NOT_JSON),
    ("null", Code.NOT_UNDERSTOOD),
    ("{}", Code.NOT_UNDERSTOOD),
    ('{"op":"buy"}', Code.NOT_UNDERSTOOD),
    ('{"op":["subscribe"]}', Code.NOT_UNDERSTOOD),
    ('{"op":"subscribe","quotes":{"a":1}}', Code.NOT_UNDERSTOOD),
    ('{"op":"subscribe","quotes":["A",null]}', Code.NOT_UNDERSTOOD),
    ('{"op":"subscribe","since":{"epoch":1,"offset":2}}', Code.NOT_UNDERSTOOD),
    ('{"op":"subscribe","id":' + "9" * 5000 + "}", Code.NOT_UNDERSTOOD),
    ('{"op":"pong","n":1e400}', Code.NOT_UNDERSTOOD),
    ('{"op":"pong","op":"reset"}', Code.NOT_UNDERSTOOD),
    ('{"op":"subscribe","x":' + DEEP + "}", Code.NOT_UNDERSTOOD),
    (b"", Code.BINARY),
    (b"\x00\xff" * 100, Code.BINARY),
    (b'{"op":"reset"}', Code.BINARY),
]


async def hear(socket: ClientConnection, type: str) -> dict[str, Any]:
    async with asyncio.timeout(DEADLINE_S):
        while (message := checked(json.loads(await socket.recv())))["type"] != type:
            pass
    return message


async def end_of(socket: ClientConnection) -> int:
    """The closing code."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            assert socket.close_code is not None
            return socket.close_code


@pytest.mark.parametrize(("server", "too_large"), [("uvicorn", 1009), ("daphne", 1006)])
async def test_each_gets_its_number_and_the_server_goes_on(
    tmp_path: Path, redis_server: RedisServer, database: Database, server: str, too_large: int
) -> None:
    port = free_port()
    address = f"ws://127.0.0.1:{port}/ws/v1/"
    with ManagePy(tmp_path, "serve", PORT=str(port), WEB_SERVER=server) as web:
        async with asyncio.timeout(DEADLINE_S):
            while "listening on" not in web.log.read_text():  # noqa: ASYNC110  another process's log has no event
                await asyncio.sleep(0.05)
        async with await _opened(address) as socket:
            assert (await hear(socket, "hello"))["protocol"] == 1
            for message, code in REFUSED:
                await socket.send(message)
                assert (await hear(socket, "error"))["code"] == code
            await socket.send('{"op":"subscribe","id":1,"id":"two","quotes":["\\u0000","x\\ny|z"],"bars":["@","@1m"]}')
            answer = await hear(socket, "subscribed")
            assert (answer["id"], len(answer["refused"])) == ("two", 4)
            await socket.send(" " * 100_000)
            assert await end_of(socket) == Code.MESSAGE_TOO_LARGE
        async with await _opened(address) as socket:
            await socket.send(" " * 2**20)
            assert await end_of(socket) == too_large
        async with await _opened(address) as socket:
            for _ in range(MESSAGES_BURST + 50):
                await socket.send("nope")
            assert await end_of(socket) == Code.TOO_MANY_MESSAGES
        with pytest.raises(InvalidStatus, match=r"40[03]"):
            await connect(address, origin=Origin("http://["))
        async with await _opened(address) as socket:
            await hear(socket, "hello")
        log = web.log.read_text()
        assert "Traceback" not in log, log


async def _opened(address: str) -> ClientConnection:
    """Once the server answers; a program, without an Origin."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await connect(address, compression=None)
            except OSError:
                await asyncio.sleep(0.05)
