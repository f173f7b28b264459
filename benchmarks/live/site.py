"""One side of a comparison: a server with a Redis, a feed and browsers of its own, idle until its window comes."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from benchmarks.live.children import MEASURED, Child, Children, children
from benchmarks.live.load import Browsers, Crowd
from infrastructure.embedded import RedisServer
from infrastructure.embedded.ports import find_free

START_S = 60.0
CALM, CALM_S = 0.15, 0.2  # of a core, over so long
HERE = Path(__file__).parent
PYTHON = (sys.executable,)

#: Starts servers: what to start them with, the port of the Redis, the ports to listen on.
Servers = Callable[[Children, int, list[int]], list[Child]]


@dataclass(frozen=True, slots=True)
class Window:
    """What a server did in a few seconds. Rates are per second; ages in ms; `cores` of the server's processes."""

    offered: float
    values: float
    frames: float
    bytes: float
    p50_ms: int
    p99_ms: int
    longest_ms: int
    cores: float
    load_cores: float
    feed_cores: float
    backwards: int
    dead: int

    @property
    def us_per_value(self) -> float:
        return self.cores / self.values * 1e6 if self.values else float("inf")


@dataclass(slots=True)
class Site:
    servers: list[Child]
    feed: Child
    browsers: Browsers
    crowd: Crowd

    def window(self, rate: float, seconds: float, warm_s: float = 0.7) -> Window:
        """At so many ticks a second; silent again afterwards."""
        with self.fed(rate):
            time.sleep(warm_s)
            return self.measure(seconds)

    @contextlib.contextmanager
    def fed(self, rate: float) -> Iterator[None]:
        self.feed.say(f"rate {rate}")
        try:
            yield
        finally:
            self.feed.say("rate 0")

    def measure(self, seconds: float) -> Window:
        self.browsers.reset()
        self.feed.say("reset")
        began, cpu = time.monotonic(), self.cpu_s
        time.sleep(seconds)
        cores = (self.cpu_s - cpu) / (time.monotonic() - began)
        heard = self.browsers.report()
        fed = self.feed.ask("report")
        watchers = self.crowd.connections * self.crowd.each / self.crowd.symbols
        return Window(
            fed["ticks"] / fed["seconds"] * watchers, heard["values"] / heard["seconds"],
            heard["frames"] / heard["seconds"], heard["bytes"] / heard["seconds"],
            heard["p50_ms"], heard["p99_ms"], heard["longest_ms"],
            cores, heard["cores"], fed["cores"], heard["backwards"], heard["dead"],
        )  # fmt: skip

    def missing(self) -> int:
        """Latest values that do not reach their browser after the feed has said its last."""
        return self.browsers.missing(int(self.feed.ask("final")["seq"]))

    def calm(self, patience_s: float = 6.0) -> None:
        """Waits until what piled up in an overload is done with, so that it does not disturb the next side."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            cpu = self.cpu_s
            time.sleep(CALM_S)
            if self.cpu_s - cpu < CALM * CALM_S:
                return

    @property
    def cpu_s(self) -> float:
        return sum(server.cpu_s for server in self.servers)

    @property
    def memory_bytes(self) -> int:
        return sum(server.memory_bytes for server in self.servers)


@contextlib.contextmanager
def site(
    program: Path, folder: Path, start: Servers, crowd: Crowd, feed: str = "blocks", ports: int = 1
) -> Iterator[Site]:
    """Up, with the browsers subscribed and the feed silent."""
    with served(folder, start, ports) as up:
        teller = told(up, feed, crowd.symbols)
        yield Site(up.servers, teller, Browsers(up.children, program, up.ports, crowd), crowd)


@dataclass(frozen=True, slots=True)
class Served:
    """Servers that answer, and their Redis."""

    children: Children
    servers: list[Child]
    redis_url: str
    ports: list[int]


def told(up: Served, feed: str, symbols: int) -> Child:
    """A silent feed for those servers; every symbol has a first value."""
    teller = up.children.start(*python("benchmarks.live.feed", feed, up.redis_url, symbols))
    teller.hear()
    return teller


@contextlib.contextmanager
def served(folder: Path, start: Servers, ports: int = 1) -> Iterator[Served]:
    with children(folder) as started:
        redis = RedisServer(find_free(), folder / f"redis-{find_free()}")
        started.start(*redis.service().command)
        until(redis.answers)
        listening = [find_free() for _ in range(ports)]
        servers = start(started, redis.port, listening)
        for port in listening:
            until(lambda port=port: answers(port))
        yield Served(started, servers, redis_url(redis.port), listening)


def ours(*, core: int | None = MEASURED, **environment: str) -> Servers:
    """`manage.py serve`, one process for each port."""

    def start(started: Children, redis_port: int, ports: list[int]) -> list[Child]:
        given = {
            "REDIS_URL": redis_url(redis_port), "ANONYMOUS_VIEWING": "on",
            "LIVE_MAX_CONNECTIONS_PER_ADDRESS": "100000", **environment,
        }  # fmt: skip
        return [started.start(*PYTHON, "manage.py", "serve", core=core, PORT=str(port), **given) for port in ports]

    return start


def broadcast(batch_ms: int = 0) -> Servers:
    def start(started: Children, redis_port: int, ports: list[int]) -> list[Child]:
        words = python("benchmarks.live.peers.broadcast", ports[0], redis_url(redis_port), batch_ms)
        return [started.start(*words, core=MEASURED)]

    return start


def node_ws(batch_ms: int = 0) -> Servers:
    def start(started: Children, redis_port: int, ports: list[int]) -> list[Child]:
        from infrastructure.persistence import keys

        program = str(HERE / "peers" / "node_ws.mjs")
        return [started.start("node", program, *map(str, (ports[0], redis_port, keys.LIVE, batch_ms)), core=MEASURED)]

    return start


def groups(layer: str) -> Servers:
    def start(started: Children, redis_port: int, ports: list[int]) -> list[Child]:
        words = python("benchmarks.live.peers.groups", layer, ports[0], redis_url(redis_port))
        return [started.start(*words, core=MEASURED)]

    return start


def python(module: str, *words: Any) -> list[str]:
    return [*PYTHON, "-m", module, *map(str, words)]


def redis_url(port: int) -> str:
    return f"redis://127.0.0.1:{port}"


def answers(port: int) -> bool:
    try:
        with connect(f"ws://127.0.0.1:{port}/ws/v1/", origin=f"http://127.0.0.1:{port}", open_timeout=START_S):  # type: ignore[arg-type]
            return True
    except (OSError, WebSocketException):
        return False


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("A server of the benchmark does not answer.")
        time.sleep(0.05)
