"""Starts child processes in stages, shows their output, restarts what dies, stops all in reverse; for `manage.py up`.

A child that exits before it ever answered may be one that cannot start: its service explains the exit, and the
explanation is raised as `Rejected`. Whatever dies later is restarted for ever, with a backoff and a line saying so.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infrastructure.backoff import Backoff
from infrastructure.errors import Rejected

TETHER = str(Path(__file__).with_name("tether.py"))
TAIL_LINES = 40
LINE_LIMIT = 64 * 1024  # a longer line is shown in pieces
STEADY_S = 10  # a child that lived this long starts its backoff anew
PROBE_S = 0.1
LAST_WORDS_S = 0.5  # for output that is still under way when the process has ended

Say = Callable[[str, str], None]


def tethered(dies_by: signal.Signals, *command: str) -> list[str]:
    """A command line whose process gets the signal when this one dies; to be started from the main thread."""
    return [sys.executable, "-I", "-S", TETHER, str(os.getpid()), str(int(dies_by)), *command]


def keep_line(line: str) -> str | None:
    return line


def explain_nothing(code: int, lines: Sequence[str]) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Service:
    """One child process and what there is to know about it."""

    name: str
    command: Sequence[str]
    #: Asked in a thread, again and again, until it says True; may raise Rejected. None: to be alive is enough.
    answers: Callable[[], bool] | None = None
    #: How the line begins that it prints once it listens; asked only then, or somebody else on its port may answer.
    says: str = ""
    #: (exit code, last lines) of an exit before the first answer → why it cannot start; None: restart it.
    explain: Callable[[int, Sequence[str]], str | None] = explain_nothing
    #: A line of output → what people see of it, or None.
    show: Callable[[str], str | None] = keep_line
    #: What it says before it answers and while it stops is kept for `explain` alone.
    quiet: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    #: What the child gets when this process dies.
    dies_by: signal.Signals = signal.SIGKILL
    #: From SIGTERM to SIGKILL. `manage.py up` promises to stop within 15 s: its two stages add up to less.
    grace_s: float = 8


class Runner:
    """`keep_open` are file descriptors that every child inherits."""

    def __init__(self, say: Say, backoff: Backoff, keep_open: Iterable[int] = ()) -> None:
        self._say = say
        self._backoff = backoff
        self._keep_open = tuple(keep_open)
        self._stages: list[list[_Child]] = []

    async def start(self, *services: Service) -> None:
        """Starts one stage, in the order given; returns when each service answers and is alive."""
        stage = [_Child(service, self._say, self._backoff, self._keep_open) for service in services]
        self._stages.append(stage)
        for child in stage:
            child.start()
        await asyncio.gather(*(child.answered for child in stage))
        while not all(child.is_alive() for child in stage):  # noqa: ASYNC110  one may be between two lives
            await asyncio.sleep(PROBE_S)

    async def run_once(self, service: Service) -> int:
        """Runs a command to its end; its exit code."""
        return await _Child(service, self._say, self._backoff, self._keep_open).run()

    def processes(self) -> dict[str, int]:
        """Name → process id of the children that are alive now."""
        return {
            child.service.name: child.process.pid
            for stage in self._stages
            for child in stage
            if child.process and child.is_alive()
        }

    async def stop(self) -> None:
        """The last stage first; within a stage at once, so that the slowest child is all that is waited for."""
        for stage in reversed(self._stages):
            await asyncio.gather(*(child.stop() for child in reversed(stage)))
        self._stages.clear()


class _Child:
    def __init__(self, service: Service, say: Say, backoff: Backoff, keep_open: Sequence[int]) -> None:
        self.service = service
        self.process: asyncio.subprocess.Process | None = None
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._say = say
        self._backoff = backoff
        self._keep_open = keep_open
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._silent = False
        self._said = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    def is_alive(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
        if not self.answered.done():
            self.answered.cancel()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            begun = loop.time()
            code = await self.run()
            if self._refused():
                return
            if not self.answered.done() and (why := self.service.explain(code, list(self._tail))):
                self.answered.set_exception(Rejected(why))
                return
            failures = 0 if loop.time() - begun > STEADY_S else failures + 1
            delay = self._backoff.delay_s(failures, random.random)
            self._say(self.service.name, f"{_ending(code)}; starting it again in {delay:.1f} s")
            await asyncio.sleep(delay)

    def _refused(self) -> bool:
        return self.answered.done() and (self.answered.cancelled() or self.answered.exception() is not None)

    async def run(self) -> int:
        """One life of the process, whose exit code it returns. Cancelling ends the process first."""
        self._tail.clear()
        self._said.clear()
        self._silent = self.service.quiet
        readable, writable = os.pipe()  # not the loop's own pipe: that one would wait for grandchildren that hold it
        try:
            self.process = process = await self._spawn(writable)
        except BaseException:
            os.close(readable)
            raise
        finally:
            os.close(writable)
        pump = asyncio.create_task(self._pump(readable))
        probe = asyncio.create_task(self._probe())
        try:
            return await process.wait()
        finally:
            probe.cancel()
            if process.returncode is None:
                await self._end(process)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it left behind in its session
            await asyncio.wait([pump], timeout=LAST_WORDS_S)
            pump.cancel()

    async def _spawn(self, output: int) -> asyncio.subprocess.Process:
        # A session of its own: the terminal's Ctrl-C reaches this process only, which then stops all in order.
        return await asyncio.create_subprocess_exec(
            *tethered(self.service.dies_by, *self.service.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.service.environment},
            pass_fds=self._keep_open,
            start_new_session=True,
        )

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        self._silent = self.service.quiet
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self.service.grace_s)
        except TimeoutError:
            self._say(self.service.name, f"did not stop within {self.service.grace_s:g} s; killed")
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _probe(self) -> None:
        try:
            if self.service.says:
                await self._said.wait()
            answers = self.service.answers
            while answers and not await asyncio.to_thread(answers):  # noqa: ASYNC110  it is another process
                await asyncio.sleep(PROBE_S)
        except Rejected as error:
            if not self.answered.done():
                self.answered.set_exception(error)
            return
        self._silent = False
        if not self.answered.done():
            self.answered.set_result(None)

    async def _pump(self, readable: int) -> None:
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        with os.fdopen(readable, "rb", buffering=0) as pipe:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), pipe
            )
            try:
                rest = b""
                while data := await reader.read(LINE_LIMIT):
                    *lines, rest = (rest + data).split(b"\n")
                    if len(rest) > LINE_LIMIT:
                        lines, rest = [*lines, rest], b""
                    for line in lines:
                        self._line(line)
                if rest:
                    self._line(rest)
            finally:
                transport.close()

    def _line(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").rstrip()
        self._tail.append(line)
        if line.startswith(self.service.says):
            self._said.set()
        if line and not self._silent and (text := self.service.show(line)):
            self._say(self.service.name, text)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
