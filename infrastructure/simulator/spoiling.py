"""Damage done to frames on their way out, as the fault switches ask."""

from __future__ import annotations

import asyncio
import struct

from infrastructure.simulator import wire
from infrastructure.simulator.faults import Faults

HEARTBEAT = "~m~4~m~~h~7"
_PIECE = 64  # bytes of a slow drip


class Spoiler:
    def __init__(self, faults: Faults, connection: int) -> None:
        self._faults, self._connection = faults, connection

    def frame(self, frame: str, symbol: str | None) -> str:
        payload = frame.split("~m~", 2)[2]
        if self._faults.take("malformed_json", symbol, self._connection):
            return wire.frame(payload[: len(payload) // 2])
        if self._faults.take("wrong_length", symbol, self._connection):
            return f"~m~{wire.units(payload) + 7}~m~{payload}"
        return frame

    def batch(self, frames: list[str]) -> list[str]:
        if self._faults.take("heartbeat_with_data", None, self._connection):
            frames = [HEARTBEAT, *frames]
        if len(frames) > 1 and self._faults.take("heartbeat_between", None, self._connection):
            frames = [frames[0], HEARTBEAT, *frames[1:]]
        return frames

    async def drip(self, transport: asyncio.WriteTransport, message: str, bytes_per_s: float) -> None:
        """One websocket message, a few bytes at a time."""
        data = message.encode()
        size = len(data)
        length = (
            bytes([size])
            if size < 126
            else b"\x7e" + struct.pack("!H", size)
            if size < 65536
            else b"\x7f" + struct.pack("!Q", size)
        )
        data = b"\x81" + length + data
        for start in range(0, len(data), _PIECE):
            transport.write(data[start : start + _PIECE])
            await asyncio.sleep(_PIECE / bytes_per_s)
