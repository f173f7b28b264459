"""Quote sessions: the first answer of a symbol is full, later ones hold what changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from infrastructure.simulator import wire
from infrastructure.simulator.instrument import Instrument
from infrastructure.simulator.quote_fields import standing
from infrastructure.simulator.tape import Live

if TYPE_CHECKING:
    from infrastructure.simulator.connection import Connection


def symbol_of(spec: str) -> str:
    """`NASDAQ:AAPL`, or the symbol inside `={"symbol":"NASDAQ:AAPL",…}`; empty where there is none."""
    while spec.startswith("="):
        try:
            inner = json.loads(spec[1:])["symbol"]
        except (ValueError, KeyError, TypeError):
            return ""
        spec = f"={json.dumps(inner)}" if isinstance(inner, dict) else str(inner)
    return spec


class Line:
    """One name in one quote session."""

    def __init__(self, session: QuoteSession, name: str, item: Instrument) -> None:
        self.session, self.item = session, item
        self.head = f'{{"m":"qsd","p":[{wire.text(session.id)},{{"n":{wire.text(name)},"s":"ok","v":'
        self.units = wire.units(self.head) + len("}]}")

    def tick(self, live: Live) -> None:
        body = live.changed(self.session.fields)
        if body:
            # What moves is numbers and session names: ASCII, so its length is its units.
            text = f"~m~{self.units + len(body)}~m~{self.head}{body}}}]}}"
            self.session.connection.send(text, self.item.name)


class QuoteSession:
    def __init__(self, connection: Connection, id: str) -> None:
        self.connection, self.id = connection, id
        self.fields: frozenset[str] | None = None
        self.lines: dict[str, Line] = {}

    def set_fields(self, names: list[str]) -> None:
        self.fields = frozenset(names)

    def add(self, names: list[Any]) -> None:
        if any(isinstance(name, dict) for name in names) and self.connection.options.refuse_flags:
            self.connection.critical_error(self.id, "invalid_parameters", "quote_add_symbols", [self.id, *names])
            return
        for name in names:
            if isinstance(name, str):
                self._add(name)

    def _add(self, name: str) -> None:
        item = self.connection.market.find(symbol_of(name))
        if item is None:
            answer: dict[str, Any] = {"n": name, "s": "error", "errmsg": "no_such_symbol", "v": {}}
        elif item.permission:
            denied = {"alternative": "", "group": item.permission}
            answer = {"n": name, "s": "permission_denied", "errmsg": "Permission denied", "v": denied}
        else:
            answer = {"n": name, "s": "ok", "v": self._all(item)}
            self.remove([name])
            self.lines[name] = Line(self, name, item)
            self.connection.tape.follow(item, self.lines[name])
        about = item.name if item else None
        self.connection.send(wire.message("qsd", [self.id, answer]), about)
        self.connection.send(wire.message("quote_completed", [self.id, name]), about)

    def _all(self, item: Instrument) -> dict[str, Any]:
        fields = standing(item, self.connection.paid) | self.connection.tape.live(item).fields
        wanted = fields if self.fields is None else fields.keys() & self.fields
        return {name: fields[name] for name in sorted(wanted, reverse=True)}

    def remove(self, names: list[Any]) -> None:
        for name in names:
            line = self.lines.pop(name, None) if isinstance(name, str) else None
            if line is not None:
                self.connection.tape.leave(line.item, line)

    def fast(self, names: list[Any]) -> None:
        """Nothing is slow here; but a session that was put to sleep wakes for these."""
        for name in names:
            line = self.lines.get(name) if isinstance(name, str) else None
            if line is not None:
                self.connection.tape.follow(line.item, line)

    def hibernate(self) -> None:
        for line in self.lines.values():
            self.connection.tape.leave(line.item, line)

    def close(self) -> None:
        self.remove(list(self.lines))
