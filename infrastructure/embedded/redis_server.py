"""The bundled redis-server as a service on loopback, for `manage.py up`. MongoDB is the truth: it may be emptied."""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from infrastructure.embedded import binaries
from infrastructure.embedded.ports import LOOPBACK
from infrastructure.embedded.runner import Service

SNAPSHOT = "dump.rdb"
UNREADABLE = re.compile(r"RDB|loading the DB|Wrong signature|Bad file format|Short read", re.IGNORECASE)
PREFIX = re.compile(r"^\d+:\w \d+ \w+ \d+ [\d:.]+ [.\-*#] ")


@dataclass(frozen=True, slots=True)
class RedisServer:
    port: int
    folder: Path

    def service(self) -> Service:
        self.folder.mkdir(parents=True, exist_ok=True)
        return Service(
            "redis",
            [
                str(binaries.redis_server()),
                *("--port", str(self.port)),
                *("--bind", LOOPBACK),
                *("--dir", str(self.folder)),
                *("--dbfilename", SNAPSHOT),
                *("--save", "900", "1"),  # and at the stop; a log of every tick would wear the disk
                *("--stop-writes-on-bgsave-error", "no"),
                *("--maxmemory", "512mb"),
                *("--maxmemory-policy", "noeviction"),
                *("--loglevel", "warning"),
            ],
            answers=self.answers,
            explain=self.explain,
            show=lambda line: PREFIX.sub("", line),
            quiet=True,
            dies_by=signal.SIGTERM,
            grace_s=4,
        )

    def answers(self) -> bool:
        """Whether ours does: another platform's may have taken the port a moment before."""
        try:
            with redis.Redis(
                LOOPBACK, self.port, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
            ) as client:
                return Path(client.config_get("dir")["dir"]) == self.folder.resolve()
        except RedisError:  # not listening yet, or loading its snapshot
            return False

    def explain(self, code: int, lines: Sequence[str]) -> str:
        last = PREFIX.sub("", lines[-1]) if lines else "nothing"
        if any(UNREADABLE.search(line) for line in lines):
            return (
                f"redis-server cannot read {self.folder / SNAPSHOT}: delete that file, everything in it is rebuilt. "
                f"It said: {last}"
            )
        return f"redis-server could not start on {self.folder} (exit code {code}); it said: {last}"
