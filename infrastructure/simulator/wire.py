"""Text of the simulator's side of the protocol: frames, hello and bars, as the recorded samples show them.

Written apart from the platform's own codec on purpose, so that one mistake cannot hide the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from infrastructure.bars import Bar, Bars
from infrastructure.intervals import Interval
from infrastructure.simulator.instrument import Instrument

NODE = "sim1-charts-free-1-series-1"
_PREFIX = re.compile(r"~m~(\d+)~m~")
_encode = msgspec.json.Encoder().encode
#: TradingView prints the sentinel with a plus sign.
NO_VALUE = msgspec.Raw(b"1e+100")


class Entry(msgspec.Struct, gc=False):
    """A bar as it travels: its index, and five or six numbers."""

    i: int
    v: tuple[float, ...]


class BadFrame(Exception):
    """The client's text is not a row of frames."""


def text(value: Any) -> str:
    return _encode(value).decode()


def units(payload: str) -> int:
    """Length as TradingView counts it: UTF-16 code units."""
    return len(payload) if payload.isascii() else len(payload.encode("utf-16-le")) // 2


def frame(payload: str) -> str:
    return f"~m~{units(payload)}~m~{payload}"


def message(method: str, parameters: list[Any], now_ms: int | None = None) -> str:
    """A frame; with `now_ms` it carries the two times that some messages have."""
    body: dict[str, Any] = {"m": method, "p": parameters}
    if now_ms is not None:
        body |= {"t": now_ms // 1000, "t_ms": now_ms}
    return frame(text(body))


def payloads(received: str) -> Iterator[str]:
    """The frames of one websocket message. Clients count in UTF-16 units or (in ASCII) in anything: it is the same."""
    wide = None if received.isascii() else received.encode("utf-16-le")
    position = 0
    while position < len(received):
        found = _PREFIX.match(received, position)
        if not found:
            raise BadFrame(received[position : position + 80])
        start, length = found.end(), int(found[1])
        if wide is None:
            payload = received[start : start + length]
        else:
            first = units(received[:start]) * 2
            payload = wide[first : first + length * 2].decode("utf-16-le", "replace")
        if units(payload) != length:
            raise BadFrame(received[position : position + 80])
        yield payload
        position = start + len(payload)


def hello(connection: int, now_ms: int) -> str:
    return frame(
        text(
            {
                "session_id": f"0.{connection}.0_sim1-charts-free-1-tvbs-1",
                "timestamp": now_ms // 1000,
                "timestampMs": now_ms,
                "release": "release_209-23",
                "studies_metadata_hash": "0" * 40,
                "auth_scheme_vsn": 2,
                "protocol": "json",
                "via": "127.0.0.1:443",
                "javastudies": ["3.66"],
            }
        )
    )


def row(bar: Bar, has_volume: bool) -> list[float]:
    values = [bar.time_ms / 1000, bar.open, bar.high, bar.low, bar.close]
    return [*values, bar.volume] if has_volume else values


def rows(bars: Bars, first_index: int, has_volume: bool) -> list[Entry]:
    columns = [(bars.time_ms / 1000).tolist(), *(c.tolist() for c in bars.columns[1 : 6 if has_volume else 5])]
    return [Entry(i, v) for i, v in enumerate(zip(*columns, strict=True), first_index)]


def close_time(item: Instrument, open_ms: int, interval: Interval) -> int:
    """`bar_close_time` (s): by the clock on the wall, so later by the delay; a session's last second ends in 59."""
    close_ms = item.hours.bar_close_ms(open_ms, interval)
    ends_session = item.session != "24x7" and (not interval.intraday or not item.hours.is_open(close_ms))
    return close_ms // 1000 - ends_session + item.delay_s


def timescale(
    item: Instrument, interval: Interval, times_ms: NDArray[np.int64], first: int, zero: int
) -> dict[str, Any]:
    """The third parameter of `timescale_update`."""
    return {
        "index": first,
        "zoffset": zero,
        "changes": (times_ms / 1000).tolist(),
        "marks": _marks(item, interval, times_ms, first),
        "index_diff": [],
    }


def _marks(item: Instrument, interval: Interval, times_ms: NDArray[np.int64], first: int) -> list[tuple[int, int, int]]:
    """[weight, time on the exchange's wall clock as if it were UTC, index]; a day's is 00:00 of its trading date."""
    local = times_ms // 1000 + _offsets(item.timezone, times_ms)
    if not interval.intraday:
        local = (local + 43_200) // 86_400 * 86_400  # sessions that open after noon are the next date's
    days = local.astype("datetime64[s]").astype("datetime64[D]")
    months, years = days.astype("datetime64[M]"), days.astype("datetime64[Y]")
    weights = np.select([local % 3600 == 0, local % 300 == 0], [30, 21], 20)
    new_day = np.ones(len(local), bool)
    if interval.intraday:
        new_day[1:] = days[1:] != days[:-1]
        new_day[:1] = False
    weights[new_day] = 40
    weights[new_day & ((days.astype(np.int64) + 3) % 7 == 0)] = 50
    weights[1:][months[1:] != months[:-1]] = 60
    weights[1:][years[1:] != years[:-1]] = 70
    return list(zip(weights.tolist(), local.tolist(), range(first, first + len(local)), strict=True))


def _offsets(timezone: str, times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Seconds to add to UTC, looked up once an hour."""
    if timezone == "Etc/UTC":
        return np.zeros(len(times_ms), np.int64)
    zone = ZoneInfo(timezone)
    hours, places = np.unique(times_ms // 3_600_000, return_inverse=True)
    offsets = [
        (datetime.fromtimestamp(hour * 3600, UTC).astimezone(zone).utcoffset() or timedelta())
        for hour in hours.tolist()
    ]
    return np.array([int(offset.total_seconds()) for offset in offsets], np.int64)[places]


def loads(payload: str) -> Any:
    return json.loads(payload)
