"""The browser client in a Node process, and a server that says and hears what the test wants."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

HERE = Path(__file__).parent
MODULES = HERE.parents[1] / "marketdata" / "static" / "marketdata"
DEADLINE_S = 30.0  # only guards against a hang


def node() -> str:
    """Its path; skips the test where there is none."""
    path = shutil.which("node")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must install Node 20 or newer")
        pytest.skip("no node on PATH (Node 20 or newer)")
    return path


class Client:
    """`events` are those that were read so far."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self.events: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def call(self, method: str, *values: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, *values]) + "\n")
        self._process.stdin.flush()

    def next(self, event: str, **wanted: Any) -> Any:
        """The detail of the next such event; whatever comes before it is passed over."""
        while True:
            found: dict[str, Any] = json.loads(self._lines.get(timeout=DEADLINE_S))
            self.events.append(found)
            detail = found.get("detail")
            if found["event"] == event and all(detail.get(name) == value for name, value in wanted.items()):
                return found if detail is None else detail

    def states(self) -> list[str]:
        return [one["detail"]["state"] for one in self.events if one["event"] == "connection"]


@contextlib.contextmanager
def modules() -> Iterator[Path]:
    """A copy of the page's modules that Node takes for such; without a package.json it takes them for CommonJS."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(MODULES, folder, dirs_exist_ok=True)
        (Path(folder) / "package.json").write_text('{"type": "module"}')
        yield Path(folder)


@contextlib.contextmanager
def running_client(url: str, **options: Any) -> Iterator[Client]:
    """Loaded, not yet connected."""
    words = [node(), "--experimental-websocket", "--no-warnings", str(HERE / "client.mjs")]
    with modules() as folder, subprocess.Popen(
        [*words, str(folder / "live-client.js"), json.dumps({"url": url, **options})],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    ) as process:  # fmt: skip
        client = Client(process)
        try:
            assert client.next("loaded")["globals"] == []
            yield client
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                assert process.wait(DEADLINE_S) == 0, "the client left something running"
            finally:
                process.kill()


class Peer:
    """One connection, from the server's side."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self.over = threading.Event()

    def say(self, type: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": type, **fields}))

    def say_text(self, text: str) -> None:
        self._socket.send(text)

    def greet(self, log: dict[str, str] | None = None, heartbeat_s: float = 25) -> None:
        more = {"log": log} if log else {}
        self.say("hello", heartbeat_s=heartbeat_s, server_ms=4_000_000_000_000, feed={"state": "live"}, **more)

    def hear(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=DEADLINE_S))
        return message

    def close(self, code: int = 1012, reason: str = "") -> None:
        self._socket.close(code, reason)
        self.over.set()

    def wait_closed(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._socket.recv(timeout=DEADLINE_S)


class Server:
    def __init__(self) -> None:
        self._peers: queue.Queue[Peer] = queue.Queue()
        self._open: list[Peer] = []
        self._server = serve(self._serve, "127.0.0.1", 0, compression=None)
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self._open:
            peer.over.set()
        self._server.shutdown()
        self._thread.join()

    def accept(self) -> Peer:
        return self._peers.get(timeout=DEADLINE_S)

    def _serve(self, socket: ServerConnection) -> None:
        peer = Peer(socket)
        self._open.append(peer)
        self._peers.put(peer)
        peer.over.wait()
