"""Real child processes for these tests, and how to wait for what they do; every wait has a deadline for hangs only."""

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pymongo

from infrastructure.backoff import Backoff
from infrastructure.embedded import Runner, Service, binaries
from infrastructure.embedded.ports import find_free

DEADLINE_S = 60
QUICK = Backoff(0.05, 1, 0.05, 0)


def python(name: str, code: str, **options: object) -> Service:
    return Service(name, [sys.executable, "-c", code], **options)  # type: ignore[arg-type]


#: Says its pid, then lives until SIGTERM, at which it says goodbye.
WELL_BEHAVED = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("goodbye"), sys.exit(0)))
print("pid", os.getpid())
while True: signal.pause()
"""


@dataclass
class Lines:
    """What a runner said, as (name, text)."""

    said: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, name: str, text: str) -> None:
        self.said.append((name, text))

    def of(self, name: str) -> list[str]:
        return [text for speaker, text in self.said if speaker == name]

    async def wait_for(self, name: str, pattern: str, count: int = 1) -> list[str]:
        found: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < count:
                await asyncio.sleep(0.02)
                found = [match[0] for text in self.of(name) if (match := re.search(pattern, text))]
        return found

    async def pid(self, name: str, life: int = 1) -> int:
        return int((await self.wait_for(name, r"(?<=pid )\d+", life))[life - 1])


def runner() -> tuple[Runner, Lines]:
    lines = Lines()
    return Runner(lines, QUICK), lines


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {deadline_s} s"
        time.sleep(0.05)


def uses(folder: Path) -> list[psutil.Process]:
    """Every process whose command line or environment names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in words):
            found.append(process)
    return found


def plant_newer_version(folder: Path) -> None:
    """Leaves in the data what MongoDB 7 leaves: mongod refuses to write that document, but for a rename in applyOps."""
    port = find_free()
    command = [binaries.mongod(), "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    with subprocess.Popen([*command, "--quiet"], stdout=subprocess.DEVNULL) as mongod:
        try:
            with pymongo.MongoClient(port=port, directConnection=True) as client:
                client.admin.draft.insert_one({"_id": "featureCompatibilityVersion", "version": "7.0"})
                rename = {"renameCollection": "admin.draft", "to": "admin.system.version", "dropTarget": True}
                client.admin.command("applyOps", [{"op": "c", "ns": "admin.$cmd", "o": rename}])
        finally:
            mongod.terminate()
