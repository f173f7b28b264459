"""Bars ↔ one compressed blob, exact to the last bit for any time and any double. Pure; called by the BarStore.

    blob     version u8 · CRC-32 of the rest u32 · bars u32 · length of the body u32 · body, LZ4 block
    body     BODY header · columns, each padded to 8 bytes · exceptions (positions u32, padded, then values f64)

Prices and volumes that are decimal numbers are kept as integers: closes as steps, opens as steps from the close before,
highs and lows as distances from the candle's body, each column in the narrowest integer that holds it. The few values
that are no such decimals are exceptions, written over the result; where they are many the columns stay doubles.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import lz4.block
import numpy as np
from numpy.typing import NDArray

from infrastructure.bars import Bars
from infrastructure.errors import Malformed

VERSION = 1
HEAD = struct.Struct("<BIII")
CHECKED_FROM = 5  # the CRC covers everything behind itself
#: First time, step or unit of times, first close, exceptions, decimals of prices and of volumes, bytes of a price while
#: it is summed, kind of each column.
BODY = struct.Struct("<qqqIBBB6B3x")
LARGEST_BODY = 2**30

INTEGERS: tuple[np.dtype[Any], ...] = (np.dtype("<i1"), np.dtype("<i2"), np.dtype("<i4"), np.dtype("<i8"))
DOUBLES, ABSENT = 8, 9  # other kinds of a column; below 4 they are indexes of INTEGERS
WIDTHS: dict[int, Any] = {4: np.int32, 8: np.int64}
RAW = 255  # "decimals" of columns kept as doubles
POWERS = 10.0 ** np.arange(10)
EXACT = 2.0**53  # integers up to here are exact doubles
SAMPLE = np.arange(64) * 2_654_435_761  # modulo the bars: spread, and in step with no pattern of theirs
MOST_EXCEPTIONS = 0.05  # a share of the values; beyond it doubles take less room

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


def allocate(n: int) -> Bars:
    """Room for n bars in one block: a large one costs fewer page faults than six."""
    block = np.empty((6, n))
    return Bars(block[0].view(np.int64), *block[1:])


def encode(bars: Bars) -> bytes:
    n = len(bars)
    out = _Writer()
    first, step = _put_times(out, np.ascontiguousarray(bars.time_ms, np.int64))
    prices = np.array([bars.open, bars.high, bars.low, bars.close], np.float64)
    volumes = np.array([bars.volume], np.float64)
    scaled_prices, scaled_volumes = _scaled(prices), _scaled(volumes)
    first_close, width = 0, 8
    if scaled_prices is None:
        for column in prices:
            out.put(column, DOUBLES)
    else:
        first_close, width = _put_prices(out, scaled_prices.integers)
    out.put(volumes[0], DOUBLES) if scaled_volumes is None else out.put_narrow(scaled_volumes.integers[0])
    at, values = _exceptions(scaled_prices, prices, 0), _exceptions(scaled_volumes, volumes, 4 * n)
    positions, odd = (np.concatenate(pair) for pair in zip(at, values, strict=True))
    out.pad(positions.astype("<u4"))
    out.pad(odd.astype("<f8"))
    decimals = (RAW if scaled is None else scaled.decimals for scaled in (scaled_prices, scaled_volumes))
    body = BODY.pack(first, step, first_close, len(odd), *decimals, width, *out.kinds) + b"".join(out.parts)
    packed = lz4.block.compress(body, store_size=False)
    rest = struct.pack("<II", n, len(body)) + packed
    return struct.pack("<BI", VERSION, zlib.crc32(rest)) + rest


def count(blob: bytes) -> int:
    """How many bars the blob says it holds, without unpacking it."""
    return _head(blob)[0]


def decode(blob: bytes) -> Bars:
    bars = allocate(count(blob))
    decode_into(blob, bars, 0)
    return bars


def decode_into(blob: bytes, out: Bars, at: int) -> int:
    """Writes the blob's bars to out[at:]; gives how many. Malformed when anything about the blob is wrong."""
    n, size = _head(blob)
    if zlib.crc32(memoryview(blob)[CHECKED_FROM:]) != struct.unpack_from("<I", blob, 1)[0]:
        raise Malformed("The checksum of a blob of bars is wrong.", repr(blob))
    try:
        body = lz4.block.decompress(memoryview(blob)[HEAD.size :], uncompressed_size=size)
        _decode_body(body, n, out[at : at + n])
    except (lz4.block.LZ4BlockError, ValueError, TypeError, ArithmeticError, LookupError, struct.error) as error:
        raise Malformed(f"A blob of bars cannot be unpacked: {error}", repr(blob)) from None
    return n


def _head(blob: bytes) -> tuple[int, int]:
    if len(blob) < HEAD.size or blob[0] != VERSION:
        raise Malformed("This is no blob of bars of a known version.", repr(blob))
    _, _, n, size = HEAD.unpack_from(blob)
    if size > LARGEST_BODY:
        raise Malformed("A blob of bars claims an impossible size.", repr(blob))
    return n, size


class _Writer:
    def __init__(self) -> None:
        self.kinds: list[int] = []
        self.parts: list[bytes] = []

    def pad(self, column: NDArray[Any]) -> None:
        raw = column.tobytes()
        self.parts.append(raw + bytes(-len(raw) % 8))

    def put(self, column: NDArray[Any], kind: int) -> None:
        self.kinds.append(kind)
        self.pad(column)

    def put_narrow(self, column: Ints) -> None:
        low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
        for kind, dtype in enumerate(INTEGERS):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                self.put(column.astype(dtype), kind)
                return


class _Reader:
    """Hands out the body's columns in order, as views."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self._at = at

    def take(self, dtype: np.dtype[Any], n: int) -> NDArray[Any]:
        column = np.frombuffer(self._body, dtype, n, self._at)
        self._at += -(-column.nbytes // 8) * 8
        return column

    def column(self, kind: int, n: int) -> NDArray[Any]:
        return self.take(np.dtype("<f8") if kind == DOUBLES else INTEGERS[kind], n)

    def finish(self) -> None:
        if self._at != len(self._body):
            raise ValueError("its length is wrong")


def _decode_body(body: bytes, n: int, out: Bars) -> None:
    first, step, first_close, odd, price_decimals, volume_decimals, width, time_kind, *kinds = BODY.unpack_from(body)
    reader = _Reader(body, BODY.size)
    if time_kind == ABSENT:
        np.multiply(np.arange(n), step, out=out.time_ms)
    else:
        np.cumsum(reader.column(time_kind, n), out=out.time_ms, dtype=np.int64)
        out.time_ms[:] *= step
    out.time_ms[:] += first
    columns = [reader.column(kind, n) for kind in kinds]
    if price_decimals == RAW:
        for target, column in zip((out.open, out.high, out.low, out.close), columns[:4], strict=True):
            target[:] = column
    else:
        _decode_prices(columns, first_close, WIDTHS[width], POWERS[price_decimals], out)
    if volume_decimals == RAW:
        out.volume[:] = columns[4]
    else:
        np.divide(columns[4], POWERS[volume_decimals], out=out.volume)
    positions, values = reader.take(np.dtype("<u4"), odd), reader.take(np.dtype("<f8"), odd)
    reader.finish()
    if odd:
        which, where = np.divmod(positions, n)
        for index, target in enumerate(out.columns[1:]):
            target[where[which == index]] = values[which == index]


def _decode_prices(columns: list[NDArray[Any]], first_close: int, integer: Any, scale: float, out: Bars) -> None:
    steps, opens, highs, lows, _ = columns
    closes = np.empty(len(steps) + 1, integer)
    closes[0] = first_close
    close = closes[1:]
    np.cumsum(steps, dtype=integer, out=close)
    close += integer(first_close)
    open_ = closes[:-1] + opens
    np.divide(close, scale, out=out.close)
    np.divide(open_, scale, out=out.open)
    edge: Any = np.maximum(open_, close)
    edge += highs
    np.divide(edge, scale, out=out.high)
    np.minimum(open_, close, out=edge)
    edge -= lows
    np.divide(edge, scale, out=out.low)


def _put_times(out: _Writer, times: Ints) -> tuple[int, int]:
    """First time and step; steps that differ become a column of multiples of their common unit (wrapping is exact)."""
    if len(times) < 2:
        out.put(times[:0], ABSENT)
        return (int(times[0]) if len(times) else 0), 0
    steps = np.diff(times)
    if (steps == steps[0]).all():
        out.put(times[:0], ABSENT)
        return int(times[0]), int(steps[0])
    unit = max(int(np.gcd.reduce(steps)), 1)
    out.put_narrow(np.concatenate(([0], steps // unit)))
    return int(times[0]), unit


def _put_prices(out: _Writer, prices: Ints) -> tuple[int, int]:
    """First close and width; columns: steps of close, open from the close before, high above the body, low below it."""
    open_, high, low, close = prices
    first = int(close[0]) if close.size else 0
    before = np.concatenate(([first], close[:-1]))
    out.put_narrow(close - before)
    out.put_narrow(open_ - before)
    out.put_narrow(high - np.maximum(open_, close))
    out.put_narrow(np.minimum(open_, close) - low)
    narrow = int(np.abs(prices).max(initial=0)) < 2**29  # then sums and differences of any two fit 32 bits
    return first, 4 if narrow else 8


@dataclass(frozen=True, slots=True)
class _Scaled:
    """values = integers / 10**decimals, but for those marked as odd."""

    decimals: int
    integers: Ints
    odd: NDArray[np.bool_]


def _scaled(values: Doubles) -> _Scaled | None:
    """Rows of one length, as integers of one scale; None where doubles take less room."""
    sample = values[:, SAMPLE % max(values.shape[1], 1)] if values.size else values
    for decimals in range(len(POWERS)):
        if _mostly_exact(_as_integers(sample, decimals)):
            scaled = _as_integers(values, decimals)
            if _mostly_exact(scaled):
                return scaled
    return None


def _mostly_exact(scaled: _Scaled) -> bool:
    return bool(scaled.odd.sum() <= MOST_EXCEPTIONS * scaled.odd.size)


def _as_integers(values: Doubles, decimals: int) -> _Scaled:
    power = POWERS[decimals]
    with np.errstate(all="ignore"):
        rounded = np.rint(values * power) + 0.0  # an integer has no -0.0: make it differ here, so that it is odd
        lost = ~(np.abs(rounded) < EXACT)  # NaN and infinity too
        odd = lost | ((rounded / power).view(np.int64) != values.view(np.int64))
    if lost.any():
        _fill(rounded, lost)
    return _Scaled(decimals, rounded.astype(np.int64), odd)


def _fill(rows: Doubles, lost: NDArray[np.bool_]) -> None:
    """Puts the value before (or 0) where there is no usable one, so that a step there needs no wide integer."""
    rows[:, 0][lost[:, 0]] = 0
    kept = ~lost
    kept[:, 0] = True
    before = np.maximum.accumulate(np.where(kept, np.arange(rows.shape[1]), 0), axis=1)
    rows[:] = np.take_along_axis(rows, before, axis=1)


def _exceptions(scaled: _Scaled | None, values: Doubles, offset: int) -> tuple[Ints, Doubles]:
    if scaled is None or not scaled.odd.any():
        return np.empty(0, np.int64), np.empty(0)
    positions = np.flatnonzero(scaled.odd)
    return positions + offset, values.ravel()[positions]
