"""Loopback ports of the embedded processes, kept in a file: `manage.py up` settles them, every command reads them."""

import contextlib
import json
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now. Connections that linger after a stop do not count, as for servers."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return False
        return True


def find_free(avoid: Collection[int] = ()) -> int:
    while True:
        with contextlib.closing(socket.socket()) as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port not in avoid:
            return port


def settle(path: Path, wanted: Mapping[str, int], avoid: Collection[int] = ()) -> dict[str, int]:
    """`wanted` with each taken port replaced by a free one; written to `path`, where names not asked for stay."""
    ports: dict[str, int] = {}
    for name, port in wanted.items():
        used = {*avoid, *ports.values()}
        ports[name] = port if port not in used and is_free(port) else find_free({*used, *wanted.values()})
    kept = _read(path)
    if kept | ports != kept:
        _write(path, kept | ports)
    return ports


def _read(path: Path) -> dict[str, int]:
    try:
        kept: dict[str, int] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return kept


def _write(path: Path, ports: Mapping[str, int]) -> None:
    """In one step: another command may be reading it."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(ports))
    draft.replace(path)
