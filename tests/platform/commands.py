"""manage.py as a process of its own, against the run's stores; what it said and how it ended."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from infrastructure.simulator import SimulatorServer

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The only line on stderr."""
        (line,) = self.err.splitlines()
        return line


def environment(source: SimulatorServer | None = None, **variables: str) -> dict[str, str]:
    at = {}
    if source is not None:
        at["TRADINGVIEW_WEBSOCKET_URL"] = source.websocket_url
        at["TRADINGVIEW_SEARCH_URL"] = at["TRADINGVIEW_SCANNER_URL"] = source.http_url
    database = settings.DATABASES["default"]["NAME"]
    return {**os.environ, "MONGODB_NAME": database, "NO_COLOR": "1", **at, **variables}


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def manage(*arguments: str, source: SimulatorServer | None = None, **variables: str) -> Ended:
    ended = subprocess.run(
        command(*arguments),
        env=environment(source, **variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def manage_code(code: str, **variables: str) -> Ended:
    """Python in a process of its own, with Django set up."""
    return manage("shell", "--no-imports", "-c", code, **variables)
