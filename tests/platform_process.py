"""The whole platform as a child process (`manage.py up`), for tests that look at it from outside."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from config import env
from infrastructure.embedded.runner import tethered
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
START_S = 180.0
STOP_S = 30.0
TELLS_PROCESS = re.compile(r"^\S+ up *\| (\w+) {2,}.* (\d+)$")


@dataclass
class Platform:
    """`lines` is all that `up` has printed so far; it grows."""

    process: subprocess.Popen[str]
    variables: dict[str, str]
    lines: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _ended: bool = False

    @property
    def var(self) -> Path:
        return Path(self.variables["VAR_DIR"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.variables['PORT']}"

    @property
    def password(self) -> str:
        """Of the account `admin`; printed at the first start alone."""
        found = re.search(r"password (\S{12,})", self.said("password"))
        assert found, "the admin password was not printed"
        return found[1]

    @property
    def store_ports(self) -> dict[str, int]:
        ports: dict[str, int] = json.loads((self.var / "ports.json").read_text())
        return ports

    @property
    def processes(self) -> dict[str, int]:
        """Name → process id, as `up` printed them when it was ready."""
        return {match[1]: int(match[2]) for line in self.lines if (match := TELLS_PROCESS.match(line))}

    def said(self, text: str) -> str:
        """The first line so far that holds `text`, or ""."""
        return next((line for line in self.lines if text in line), "")

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip())
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, pattern: str, after: int = 0, timeout_s: float = START_S) -> str:
        """The first line that has the regular expression, of those so far (without `after` first ones) or to come."""

        def found() -> str:
            return next((line for line in self.lines[after:] if re.search(pattern, line)), "")

        with self._news:
            self._news.wait_for(lambda: self._ended or found(), timeout_s)
        assert found(), f"no line with {pattern!r}; the last ones:\n" + "\n".join(self.lines[-40:])
        return found()

    def get(self, path: str) -> Any:
        """What the API answers, decoded."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310  http
            return json.load(answer)

    def manage(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Another command on the same stores."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.variables, text=True, capture_output=True, timeout=START_S, check=False,
        )  # fmt: skip

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
def started_platform(var: Path, **environment: str) -> Iterator[Platform]:
    """On a folder and a port of its own, with nothing of the test run's stores; stopped at the end."""
    variables = {name: value for name, value in os.environ.items() if name not in env.NAMES}
    variables |= {"VAR_DIR": str(var), "PORT": str(free_port()), "PYTHONUNBUFFERED": "1", **environment}
    process = subprocess.Popen(
        tethered(signal.SIGTERM, sys.executable, "manage.py", "up"),
        cwd=ROOT, env=variables, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    platform = Platform(process, variables)
    reader = threading.Thread(target=platform.read, daemon=True)
    reader.start()
    try:
        yield platform
    finally:
        platform.stop()
        reader.join(STOP_S)


@contextlib.contextmanager
def running_platform(var: Path, **environment: str) -> Iterator[Platform]:
    """Started, and has said `ready`."""
    with started_platform(var, **environment) as platform:
        platform.wait_for(f"^ready {re.escape(platform.url)}/$")
        yield platform
