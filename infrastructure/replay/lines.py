"""One line of a capture ↔ a record. Pure; used by `recorder` and `captures`.

    12.345678 2026-01-05T15:00:47.345Z 0 < ~m~89~m~{"m":"series_loading",…}

Seconds of the recorder's monotonic clock since it began, its wall clock, the number of the connection, what happened:
opened (+), came in (<), went out (>), ended (-, with the reason), not kept (!, how many records); then the text to the
letter. One that holds a line break, or starts with a quotation mark, is written as a JSON string. A line that is
a text alone came in on a connection 0, at a time that nobody noted: so older captures are kept. # starts a remark.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, cast

from infrastructure.errors import Malformed
from infrastructure.times import from_ms, to_ms
from infrastructure.tradingview import frames

Kind = Literal["+", "<", ">", "-", "!"]

_HEAD = re.compile(r"(\d{1,9}\.\d{6}) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (\d{1,4}) ([-+<>!])(?: |$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Record:
    at_s: float  # since the recorder began
    wall_ms: int
    connection: int
    kind: Kind
    text: str
    line: int = field(default=0, compare=False)  # of the capture


def encode(record: Record) -> str:
    """With its line break."""
    ms = record.wall_ms
    text = record.text
    if "\n" in text or "\r" in text or text.startswith('"'):
        text = json.dumps(text)
    wall = f"{from_ms(ms):%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"
    return f"{record.at_s:.6f} {wall} {record.connection} {record.kind} {text}\n"


def decode(line: str, now_ms: int, number: int = 0) -> Record | None:
    """None for a remark. `now_ms` is the time of a line that tells none. Malformed, with the line, where it is none."""
    if line.startswith(frames.MARK):
        frames.decode(line)  # nothing else vouches for it
        return Record(0.0, now_ms, 0, "<", line, number)
    if not line or line.startswith("#"):
        return None
    head = _HEAD.match(line)
    if head is None:
        raise Malformed("no line of a capture", line)
    at, wall, connection, kind = head.groups()
    text = line[head.end() :]
    try:
        moment = datetime.fromisoformat(wall)
        text = json.loads(text) if text.startswith('"') else text
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no line of a capture: {error}", line) from None
    return Record(float(at), to_ms(moment), int(connection), cast(Kind, kind), text, number)
