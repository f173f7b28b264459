"""The server's side of a conversation, for tests of the pure machines: frames to say, and what was sent as a list."""

import json
from typing import Any

from infrastructure.tradingview import frames
from infrastructure.tradingview.chart import RESOLVE, SERIES, TURNAROUND
from infrastructure.tradingview.session import ANONYMOUS, Session

MINUTE_MS = 60_000
NEW_YORK = {"timezone": "America/New_York", "session": "0930-1600", "full_name": "BATS:AAPL", "exchange": "Cboe One"}


def new_session(token: str = ANONYMOUS) -> Session:
    session = Session(token, Draws())
    session.to_send()
    return session


class Draws:
    """Floats that differ, so that names do."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self) -> float:
        self.n += 1
        return self.n * 0.618033988749895 % 1


def say(name: str, *parameters: Any, t_ms: int | None = None) -> str:
    message: dict[str, Any] = {"m": name, "p": parameters}
    if t_ms is not None:
        message["t_ms"] = t_ms
    return frames.encode(json.dumps(message))


def hello(t_ms: int) -> str:
    return frames.encode(json.dumps({"session_id": "x", "timestampMs": t_ms}))


def loading(chart: str) -> str:
    return say("series_loading", chart, SERIES, TURNAROUND)


def resolved(chart: str, **facts: Any) -> str:
    return say("symbol_resolved", chart, RESOLVE, NEW_YORK | facts)


def bars(
    chart: str, *rows: tuple[float, ...], name: str = "timescale_update", turnaround: str = TURNAROUND,
    close_ms: int | None = None, first: int = 0,
) -> str:  # fmt: skip
    """Rows of (time_ms, open, high, low, close[, volume])."""
    points = [{"i": first + i, "v": [time_ms / 1000, *prices]} for i, (time_ms, *prices) in enumerate(rows)]
    part: dict[str, Any] = {"s": points, "t": turnaround}
    if close_ms is not None:
        part["lbs"] = {"bar_close_time": close_ms // 1000}
    return say(name, chart, {SERIES: part})


def completed(chart: str, mode: str = "streaming", turnaround: str = TURNAROUND, **facts: Any) -> str:
    return say("series_completed", chart, SERIES, mode, turnaround, {"rt_update_period": 0, **facts})


def sent(session: Session) -> list[tuple[Any, ...]]:
    """(name, parameter, …) of each message; a heartbeat as its text alone."""
    found: list[tuple[Any, ...]] = []
    for text in session.to_send():
        for payload in frames.decode(text):
            if payload.startswith(frames.HEARTBEAT):
                found.append((payload,))
            else:
                message = json.loads(payload)
                found.append((message["m"], *message["p"]))
    return found


def replayed(text: str, recorded_name: str, name: str) -> str:
    """A recorded answer, to the session that asks now."""
    return "".join(frames.encode(payload.replace(recorded_name, name)) for payload in frames.decode(text))


def flat(time_ms: int, price: float = 1.0, volume: float = 1.0) -> tuple[float, ...]:
    return (time_ms, price, price, price, price, volume)
