"""The processes of a run: each on one core, spoken to by lines, measured through /proc, ended with its block."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infrastructure.embedded.runner import TETHER

ROOT = Path(__file__).resolve().parents[2]
#: Starts a command so that it dies with this process, however this one ends.
TETHERED = (sys.executable, "-I", "-S", TETHER, str(os.getpid()), str(int(signal.SIGKILL)))
ANSWER_S = 60.0
STOP_S = 10.0

#: What is measured has a core of its own where there are two; everything else shares the other.
REST, MEASURED = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))


class Child:
    """`hear` gives what the process prints as JSON, line by line; other lines are in `log`."""

    def __init__(self, command: Sequence[str], core: int | None, log: Path, environment: Mapping[str, str]) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [*TETHERED, *command], cwd=ROOT, env={**os.environ, **environment}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        if core is not None:  # before it starts a thread, which takes over where it may run
            os.sched_setaffinity(self._process.pid, {core})
        self._heard: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def say(self, words: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{words}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._silent() from None

    def hear(self, deadline_s: float = ANSWER_S) -> dict[str, Any]:
        with contextlib.suppress(queue.Empty):
            if (answer := self._heard.get(timeout=deadline_s)) is not None:
                return answer
        raise self._silent()

    def _silent(self) -> RuntimeError:
        code, said = self._process.poll(), self._log.read_text()[-2000:]
        return RuntimeError(f"{self._process.args} does not answer (exit code {code}). It said:\n{said}")

    def ask(self, words: str) -> dict[str, Any]:
        self.say(words)
        return self.hear()

    @property
    def cpu_s(self) -> float:
        """Processor time of all its threads so far."""
        return sum(_first_number(file) for file in self._proc().glob("task/*/schedstat")) / 1e9

    @property
    def memory_bytes(self) -> int:
        pages = int((self._proc() / "statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def sockets(self) -> int:
        """Open files, of which only sockets change in number."""
        return sum(1 for _ in (self._proc() / "fd").iterdir())

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _proc(self) -> Path:
        return Path("/proc", str(self._process.pid))

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                self._heard.put(json.loads(line))
            else:
                with self._log.open("a") as log:
                    log.write(line)
        self._heard.put(None)


class Children:
    """Starts children; ends them all, the last one first, when its block ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Child] = []

    def start(self, *command: str, core: int | None = REST, **environment: str) -> Child:
        """`core` None: wherever there is room."""
        child = Child(command, core, self._folder / f"{len(list(self._folder.iterdir()))}.log", environment)
        self._started.append(child)
        return child

    def stop(self) -> None:
        while self._started:
            self._started.pop().stop()


@contextlib.contextmanager
def children(folder: Path) -> Iterator[Children]:
    started = Children(folder)
    try:
        yield started
    finally:
        started.stop()


def _first_number(file: Path) -> int:
    """0 for a thread that has just ended."""
    with contextlib.suppress(OSError):
        return int(file.read_text().split()[0])
    return 0
