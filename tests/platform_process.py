"""The whole platform as a child process (`manage.py up`), for tests that look at it from outside."""

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
OWN_STORES = ("MONGODB_URI", "REDIS_URL", "SECRET_KEY", "TESTS_MONGODB_PORT", "TESTS_REDIS_PORT")
START_S = 180.0
STOP_S = 30.0


@dataclass
class Platform:
    """`lines` is all that `up` has printed so far; it grows."""

    process: subprocess.Popen[str]
    port: int
    var: Path
    lines: list[str] = field(default_factory=list)
    _new: "queue.Queue[str | None]" = field(default_factory=queue.Queue)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        found = re.search(r"password\D*?[:=]?\s+(\S{12,})", self.said("password"))
        assert found, "the admin password was not printed"
        return found[1]

    def said(self, text: str) -> str:
        """The first line so far that holds `text`, or ""."""
        return next((line for line in self.lines if text in line), "")

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._new.put(line.rstrip())
        self._new.put(None)

    def wait_for(self, text: str, timeout_s: float = START_S) -> str:
        """The next line that holds `text`."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                line = self._new.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no line with {text!r}; the last ones:\n" + "\n".join(self.lines[-40:]))
            self.lines.append(line)
            if text in line:
                return line

    def child(self, *words: str) -> psutil.Process:
        """The direct child of `up` whose command line holds all the words."""
        children = psutil.Process(self.process.pid).children()
        for child in children:
            with contextlib.suppress(psutil.Error):
                if all(any(word in part for part in child.cmdline()) for word in words):
                    return child
        raise AssertionError(f"no child with {words}: {[c.cmdline() for c in children]}")

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@contextlib.contextmanager
def running_platform(var: Path, **environment: str) -> Iterator[Platform]:
    """Started, said `ready`, and stopped at the end."""
    port = free_port()
    env = {name: value for name, value in os.environ.items() if name not in OWN_STORES}
    env |= {"VAR_DIR": str(var), "PORT": str(port), "PYTHONUNBUFFERED": "1", **environment}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT, env=env, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    platform = Platform(process, port, var)
    threading.Thread(target=platform.read, daemon=True).start()
    try:
        platform.wait_for(f"ready {platform.url}/")
        yield platform
    finally:
        platform.stop()
