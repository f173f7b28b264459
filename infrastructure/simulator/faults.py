"""Switches that make the simulator misbehave as the real service was seen to: set from a test or over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

#: What happens at once to the living connections that match, once; later connections are not touched.
AT_ONCE = {
    "close": "cut the connection without a close frame (1006)",
    "reset": "reset the TCP connection",
    "critical_error": "end one chart or quote session; value: its id, else every session",
    "protocol_error": "send protocol_error with the value as its text, and close",
    "unknown_message": "send a message of an unknown kind",
    "huge_frame": "send one frame of 2 MB (or of `value` characters)",
}
#: What stays on until cleared, or for the number of `times` given.
LASTING = {
    "silence": "send nothing at all",
    "heartbeats_only": "send heartbeats and no data",
    "token_expired": "the same for every connection that is not anonymous",
    "slow_drip": "send `value` bytes a second",
    "close_mid_batch": "send half of the frames that wait, then cut the connection",
    "malformed_json": "spoil the JSON of a frame",
    "wrong_length": "declare a length that is not the frame's",
    "heartbeat_with_data": "put a heartbeat in front of the data of a message",
    "heartbeat_between": "put a heartbeat between two frames of a message",
    "overlap": "send `value` (3) bars again with the older ones",
    "out_of_order": "send the bars of an answer in the wrong order",
    "outside_range": "send `value` (3) bars more than asked for",
    "duplicate_completed": "send series_completed twice",
    "completed_without_data": "send series_completed without the bars",
    "clock_skew": "let the hello's clock be off by `value` seconds",
    "handshake_429": "answer the handshake with 429; value: Retry-After",
    "handshake_403": "answer the handshake with 403",
    "http_429": "answer HTTP with 429; value: Retry-After",
    "http_403": "answer HTTP with 403",
    "http_503": "answer HTTP with 503",
    "http_html": "answer HTTP with a page and status 200",
    "http_empty": "answer HTTP with nothing and status 200",
    "scanner_error": "answer the scanner with status 200 and an error",
    "captcha": "answer sign-in with a captcha",
}
MODES = {**AT_ONCE, **LASTING}


@dataclass(frozen=True, slots=True)
class Fault:
    mode: str
    symbol: str | None = None  # only frames about it; None = all
    connection: int | None = None  # only that one, counted from 1; None = all
    times: int | None = None  # left; None = without end
    value: Any = None

    def hits(self, mode: str, symbol: str | None, connection: int | None) -> bool:
        return self.mode == mode and self.symbol in (None, symbol) and self.connection in (None, connection)


class Faults:
    """Used from several threads: tests set, the server's loop takes."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        #: Set by the server: carries out a fault of the kind that acts at once.
        self.act: Callable[[Fault], None] = lambda fault: None
        self.any = False  # read without the lock on every frame

    def set(
        self,
        mode: str,
        *,
        symbol: str | None = None,
        connection: int | None = None,
        times: int | None = None,
        value: Any = None,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"There is no fault {mode!r}; there are {', '.join(sorted(MODES))}.")
        fault = Fault(mode, symbol, connection, times, value)
        if mode in AT_ONCE:
            self.act(fault)
            return
        with self._lock:
            self._faults = [f for f in self._faults if not (f.mode == mode and f.hits(mode, symbol, connection))]
            self._faults.append(fault)
            self.any = True

    def clear(self, mode: str | None = None) -> None:
        with self._lock:
            self._faults = [fault for fault in self._faults if mode not in (None, fault.mode)]
            self.any = bool(self._faults)

    def take(self, mode: str, symbol: str | None = None, connection: int | None = None) -> Fault | None:
        """The fault that is on for this, if any; one of its times is used up."""
        if not self.any:
            return None
        with self._lock:
            for place, fault in enumerate(self._faults):
                if fault.hits(mode, symbol, connection):
                    if fault.times is not None:
                        self._use(place, fault, fault.times)
                    return fault
        return None

    def listed(self) -> tuple[Fault, ...]:
        with self._lock:
            return tuple(self._faults)

    def _use(self, place: int, fault: Fault, times: int) -> None:
        if times > 1:
            self._faults[place] = replace(fault, times=times - 1)
        else:
            del self._faults[place]
            self.any = bool(self._faults)
