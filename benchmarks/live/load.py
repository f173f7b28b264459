"""The browsers of a run: builds the C client (wsclient.c) and speaks to it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.live.children import Child, Children

SOURCE = Path(__file__).with_name("wsclient.c")
CONNECT_S = 90.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many browsers, what each watches of how many symbols, and how they behave."""

    connections: int
    symbols: int = 200
    each: int = 10
    inflight: int = 50  # connect at once
    stamp: str = "ms"  # the field that says when a quote was sent
    snapshots: bool = True
    deflate: bool = False
    receive_buffer: int = 0
    patience_s: float = 10.0
    prefix: str = "BENCH:S"  # symbols are called that and four digits
    first: int = 0
    cookie: str = ""


def build(folder: Path) -> Path:
    program = folder / "wsclient"
    subprocess.run(["cc", "-O2", "-o", str(program), str(SOURCE)], check=True)
    return program


class Browsers:
    """`accepted_s` and `ready_s` after the first of them knocked; none may be refused."""

    def __init__(self, children: Children, program: Path, ports: list[int], crowd: Crowd) -> None:
        words = [
            ",".join(map(str, ports)), crowd.connections, crowd.symbols, crowd.each, crowd.inflight, crowd.stamp,
            int(crowd.snapshots), int(crowd.deflate), crowd.receive_buffer, crowd.patience_s,
            crowd.prefix, crowd.first, crowd.cookie,
        ]  # fmt: skip
        self._child: Child = children.start(str(program), *map(str, words))
        accepted = self._child.hear(CONNECT_S)
        self.refused = int(accepted["refused"])
        self.accepted_s = float(accepted["seconds"])
        self.ready_s = float(self._child.hear(CONNECT_S)["seconds"])

    def reset(self) -> None:
        self._child.say("reset")

    def report(self) -> dict[str, Any]:
        return self._child.ask("report")

    def stall(self, count: int) -> None:
        self._child.say(f"stall {count}")

    def missing(self, seq: int) -> int:
        """Watched symbols that do not show this number after some patience."""
        return int(self._child.ask(f"final {seq}")["missing"])

    def leave(self) -> None:
        self._child.stop()
