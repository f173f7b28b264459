"""`manage.py up`: the whole platform on this machine, from one command (stores, source, jobs, feed, web server).

MongoDB and Redis are started only where no MONGODB_URI or REDIS_URL names others.
"""

import asyncio
import http.client
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from infrastructure.backoff import Backoff
from infrastructure.embedded import FolderLock, Mongod, RedisServer, Runner, Service, ports
from infrastructure.errors import InfrastructureError, Rejected
from infrastructure.persistence import Cache, keys
from marketdata.management.commands.serve import LISTENING, NOT_STARTABLE, listen

RESTARTS = Backoff(first_s=0.5, factor=2, ceiling_s=10, jitter=0.2)
PORT_TRIES = 5
COLOURS = (36, 33, 32, 35, 34, 31)


class Command(BaseCommand):
    help = "Runs the whole platform on this machine; Ctrl-C stops it."
    requires_system_checks: list[str] = []  # nothing is there to be checked yet

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            asyncio.run(Platform().run())
        except Rejected as error:
            self.stderr.write(str(error))
            sys.exit(NOT_STARTABLE)


class Platform:
    """What runs, in which order, and when all of it answers."""

    def __init__(self) -> None:
        self._folder = Path(settings.VAR_DIR).resolve()
        self._stop = asyncio.Event()
        self._colours: dict[str, int] = {}

    async def run(self) -> None:
        """Until SIGINT, SIGTERM or SIGHUP. `Rejected` says why it cannot start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it for good
                loop.add_signal_handler(number, self._stop.set)
        self._folder.mkdir(parents=True, exist_ok=True)
        with FolderLock(self._folder / "up.lock") as lock:
            listen(settings.HOST, settings.PORT).close()
            runner = Runner(self.say, RESTARTS, keep_open=[lock.fileno()])
            boot = asyncio.create_task(self._boot(runner))
            stopped = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait([boot, stopped], return_when=asyncio.FIRST_COMPLETED)
                if boot.done():
                    boot.result()
                    await stopped
            finally:
                boot.cancel()
                await asyncio.wait([boot])
                self.say("up", "stopping")
                await runner.stop()
                self.say("up", "stopped")

    async def _boot(self, runner: Runner) -> None:
        embedded = {
            "mongodb": settings.MONGODB_EMBEDDED,
            "redis": settings.REDIS_EMBEDDED,
            "simulator": settings.MARKETDATA_SOURCE == "simulator",
        }
        wanted = {name: settings.PORTS[name] for name, here in embedded.items() if here}
        settled = await self._start_first_stage(runner, wanted)
        if await runner.run_once(_django("prepare", "prepare")):
            raise Rejected("The platform could not be prepared: the lines of `prepare` above say why.")
        await runner.start(*self._second_stage(settled))
        for line in self._summary(settled, runner.processes()):
            self.say("up", line)
        self.say("up", f"ready {_url()}", bare=True)

    async def _start_first_stage(
        self, runner: Runner, wanted: dict[str, int], tries_left: int = PORT_TRIES
    ) -> dict[str, int]:
        """Name → port; from the beginning where somebody took a port between the look at it and the start."""
        settled = self._settle_ports(wanted)
        try:
            await runner.start(*self._first_stage(settled))
        except Rejected:
            await runner.stop()
            if not tries_left or all(map(ports.is_free, settled.values())):
                raise
            return await self._start_first_stage(runner, settled, tries_left - 1)
        return settled

    def _settle_ports(self, wanted: dict[str, int]) -> dict[str, int]:
        settled = ports.settle(self._folder / "ports.json", wanted, avoid=[settings.PORT])
        for name, port in settled.items():
            if port != wanted[name]:
                self.say("up", f"port {wanted[name]} is in use: {name} moves to {port}")
        return settled

    def _first_stage(self, settled: dict[str, int]) -> Iterator[Service]:
        if port := settled.get("mongodb"):
            yield Mongod(port, self._folder / "mongodb").service()
        if port := settled.get("redis"):
            yield RedisServer(port, self._folder / "redis").service()
        if port := settled.get("simulator"):
            arguments = ["--seed", str(settings.SIMULATOR_SEED), "--speed", str(settings.SIMULATOR_SPEED)]
            yield _django("simulator", "simulator", "--port", str(port), *arguments, says="simulator ws://")

    def _second_stage(self, settled: dict[str, int]) -> Iterator[Service]:
        # Not Cache.from_settings() alone: the settings were read before the ports were settled.
        port = settled.get("redis")
        cache = Cache(f"redis://{ports.LOOPBACK}:{port}/{settings.REDIS_DB}") if port else Cache.from_settings()
        since_ms = int(time.time() * 1000)
        yield _django("feed", "runfeed", answers=lambda: _feed_answers(cache, since_ms))
        yield _django("worker", "qcluster")
        yield _django("backfills", "qcluster", environment={"Q_CLUSTER_NAME": "backfills"})
        yield _django("web", "serve", says=LISTENING, answers=_web_answers)

    def _summary(self, settled: dict[str, int], processes: dict[str, int]) -> Iterator[str]:
        where = {
            "mongodb": "yours, in MONGODB_URI",
            "redis": "yours, in REDIS_URL",
            **{name: f"{ports.LOOPBACK}:{port}" for name, port in settled.items()},
            "feed": f"streams from {settings.MARKETDATA_SOURCE}",
            "worker": "queue pulls",
            "backfills": "queue backfills",
            "web": _url(),
        }
        yield f"{'what':<10} {'where':<28} process"
        for name, place in where.items():
            yield f"{name:<10} {place:<28} {processes.get(name, '-')}"
        yield f"admin at {_url()}admin/; data and ports are kept in {self._folder}"

    def say(self, name: str, text: str, *, bare: bool = False) -> None:
        """One line, with time and process; `bare` for the line that programs wait for."""
        prefix = f"{time.strftime('%H:%M:%S')} {name:<10}| "
        if sys.stdout.isatty():
            colour = COLOURS[self._colours.setdefault(name, len(self._colours)) % len(COLOURS)]
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        try:
            print(text if bare else prefix + text, flush=True)
        except BrokenPipeError:  # nobody reads any more, as after `make run | head`
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  for the rest of this process
            self._stop.set()


def _django(name: str, command: str, *arguments: str, **options: Any) -> Service:
    manage = str(Path(settings.BASE_DIR) / "manage.py")
    return Service(name, [sys.executable, manage, command, *arguments], explain=_unusable(name), **options)


def _unusable(name: str) -> Callable[[int, Sequence[str]], str | None]:
    """A command that ends with exit code 2 before it answered says that it cannot start: again would change nothing."""

    def explain(code: int, lines: Sequence[str]) -> str | None:
        said = lines[-1].removeprefix("CommandError: ") if lines else "it said nothing"
        return f"{name} cannot start: {said}" if code == NOT_STARTABLE else None

    return explain


def _feed_answers(cache: Cache, since_ms: int) -> bool:
    """Whether it told its state (live, closed, waiting its turn, …) since then."""
    try:
        state = cache.get_json(keys.FEED)
    except InfrastructureError:
        return False
    return bool(state) and state["at_ms"] >= since_ms


def _host() -> str:
    return {"0.0.0.0": ports.LOOPBACK, "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104  a comparison


def _url() -> str:
    host = f"[{_host()}]" if ":" in _host() else _host()
    return f"http://{host}:{settings.PORT}/"


def _web_answers() -> bool:
    """Any answer that is not a failure: a page, a redirect to the login or to HTTPS, a refused host name."""
    connection = http.client.HTTPConnection(_host(), settings.PORT, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
