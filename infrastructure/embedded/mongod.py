"""The bundled mongod as a service: a replica set of one node on loopback, data in a folder, for `manage.py up`.

It has no access control, so it must never listen anywhere but on loopback (design: local use only).
"""

import json
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pymongo
from pymongo.errors import PyMongoError

from infrastructure.embedded import binaries
from infrastructure.embedded.ports import LOOPBACK
from infrastructure.embedded.runner import Service

Client: TypeAlias = pymongo.MongoClient[dict[str, Any]]

REPLICA_SET = "rs0"
EXIT_WRONG_VERSION = 62
EXIT_FOLDER_IN_USE = 100
EXIT_NOT_LOADED = 127
SHOWN_LEVELS = ("W", "E", "F")
#: Library that the loader misses → Debian's package for it.
PACKAGES = {
    "libcurl.so.4": "libcurl4",
    "libssl.so.3": "libssl3",
    "libcrypto.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
}


@dataclass(frozen=True, slots=True)
class Mongod:
    port: int
    folder: Path

    def service(self) -> Service:
        self.folder.mkdir(parents=True, exist_ok=True)
        return Service(
            "mongodb",
            [
                str(binaries.mongod()),
                *("--dbpath", str(self.folder)),
                *("--port", str(self.port)),
                *("--bind_ip", LOOPBACK),
                *("--replSet", REPLICA_SET),
                *("--wiredTigerCacheSizeGB", "0.5"),
                *("--networkMessageCompressors", "disabled"),
                *("--setParameter", "diagnosticDataCollectionEnabled=false"),
                "--nounixsocket",
                "--quiet",
            ],
            answers=self.is_primary,
            explain=self.explain,
            show=show,
            quiet=True,
            dies_by=signal.SIGTERM,
            grace_s=4,
        )

    def is_primary(self) -> bool:
        """Makes it so where needed: starts the replica set, or tells it its new port. Safe to call again and again."""
        try:
            with self._client() as client:
                if not self._is_ours(client):
                    return False
                self._arrange(client)
                return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:  # not listening yet, or electing itself: the runner asks again
            return False

    def _client(self) -> Client:
        return pymongo.MongoClient(
            LOOPBACK, self.port, directConnection=True, serverSelectionTimeoutMS=1000, socketTimeoutMS=5000
        )

    def _is_ours(self, client: Client) -> bool:
        """Another platform's may have taken the port a moment before."""
        return bool(client.admin.command("getCmdLineOpts")["parsed"]["storage"]["dbPath"] == str(self.folder))

    def _arrange(self, client: Client) -> None:
        host = f"{LOOPBACK}:{self.port}"
        config = client["local"]["system.replset"].find_one()
        if config is None:
            client.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": [{"_id": 0, "host": host}]})
        elif config["members"][0]["host"] != host:
            # The set remembers its address: on another port it would never find itself and stay without a primary.
            config["members"][0]["host"] = host
            config["version"] += 1
            client.admin.command("replSetReconfig", config, force=True)

    def explain(self, code: int, lines: Sequence[str]) -> str:
        text = "\n".join(lines)
        if missing := re.search(r"error while loading shared libraries: ([^:\s]+)", text):
            library = Path(missing[1]).name
            package = PACKAGES.get(library)
            remedy = f"sudo apt-get install -y {package}" if package else "install the package that holds it"
            return f"mongod cannot load {library}: {remedy} (or set MONGODB_URI)."
        if code in (EXIT_NOT_LOADED, -signal.SIGILL) or "GLIBC" in text:
            return (
                "This system cannot run the bundled mongod (it needs glibc 2.34, a processor with AVX): "
                f"set MONGODB_URI to a MongoDB of your own. mongod said: {_last(lines)}"
            )
        if code == EXIT_WRONG_VERSION or "unsupported WiredTiger" in text:
            return (
                f"The data in {self.folder} was written by another version of MongoDB than this mongod can read: "
                "move that folder away to start afresh, or run the right MongoDB on it and set MONGODB_URI."
            )
        if code == EXIT_FOLDER_IN_USE:
            return f"Another mongod uses {self.folder}: stop it first, or set VAR_DIR to another folder."
        return f"mongod could not start on {self.folder} (exit code {code}); it said: {_last(lines)}"


def show(line: str) -> str | None:
    """Warnings and errors of mongod's JSON log, as text; what is not JSON as it is."""
    try:
        entry = json.loads(line)
        level, message, facts = entry["s"], entry["msg"], entry.get("attr")
    except (ValueError, KeyError, TypeError):
        return line
    if level not in SHOWN_LEVELS:
        return None
    return f"{level} {message.strip()}" + (f" {json.dumps(facts)[:500]}" if facts else "")


def _last(lines: Sequence[str]) -> str:
    """The first error it logged, which is the cause of those that follow; else its last line."""
    errors = [text for text in map(show, lines) if text and text.startswith(("E ", "F "))]
    return errors[0] if errors else (lines[-1] if lines else "nothing")
