"""Browsers that stop reading: the others do not notice, and the server lets go of them."""

import asyncio
import base64
import json
import os
import socket
import struct
from pathlib import Path

import psutil
import pytest

from infrastructure.persistence import Database
from tests.live.platform import Client, ManagePy
from tests.live.speaker import Speaker
from tests.persistence.conftest import RedisServer
from tests.servers import free_port

SYMBOLS = ["NASDAQ:AAPL", "BINANCE:BTCUSDT", "TEST:TICK"]
LARGE = "x" * 20_000  # fills the kernel's buffers soon


def stalled(port: int) -> socket.socket:
    """A browser that subscribes and then reads nothing."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /ws/v1/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert sock.recv(12) == b"HTTP/1.1 101"
    text = json.dumps({"op": "subscribe", "quotes": SYMBOLS}).encode()
    sock.sendall(b"\x81" + struct.pack("!B", 0x80 | len(text)) + bytes(4) + text)
    return sock


def ended(sock: socket.socket) -> bool:
    """Reads what there is; whether the server has closed it."""
    sock.settimeout(0.05)
    try:
        while True:
            if not sock.recv(1 << 20):
                return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def browsers_of(pid: int, port: int) -> int:
    """Connections the server still holds."""
    connections = psutil.Process(pid).net_connections("tcp")
    return sum(one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED for one in connections)


@pytest.mark.slow
async def test_the_others_get_every_latest_value_and_the_stalled_are_cut_off(
    tmp_path: Path, redis_server: RedisServer, database: Database, speaker: Speaker
) -> None:
    port = free_port()
    with ManagePy(tmp_path, "serve", PORT=str(port)) as web:
        healthy = [Client(port, SYMBOLS, []) for _ in range(8)]
        for client in healthy:
            await client.until(lambda one: one.connections == 1 and "subscribed" in one.types)
        lost = [await asyncio.to_thread(stalled, port) for _ in range(4)]
        memory = psutil.Process(web.process.pid).memory_info
        await asyncio.to_thread(speaker.quote, SYMBOLS[0], 0.0, LARGE)
        before = memory().rss
        for step in range(1, 25 * 40):  # 25 seconds: longer than the server's patience
            await asyncio.to_thread(speaker.quote, SYMBOLS[step % 3], float(step), LARGE)
            if step % 40 == 0:
                for client in healthy:
                    await client.until(lambda one, step=step: one.quotes[SYMBOLS[step % 3]]["last"] == step)
            await asyncio.sleep(0.025)
        assert [client.connections for client in healthy] == [1] * 8
        assert memory().rss - before < 40 * 2**20
        for client in healthy:
            await client.close()
        assert "a browser is cut off: it has taken nothing for too long" in web.log.read_text()
        async with asyncio.timeout(20):  # although they have still not read anything
            while await asyncio.to_thread(browsers_of, web.process.pid, port):  # noqa: ASYNC110  another process's state
                await asyncio.sleep(0.05)
        for sock in lost:
            async with asyncio.timeout(20):
                while not await asyncio.to_thread(ended, sock):  # noqa: ASYNC110  a socket of the test's own
                    await asyncio.sleep(0.01)
            sock.close()
