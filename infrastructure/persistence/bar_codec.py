"""Bars ↔ one compressed blob, exact to the last bit for any time and any double. Pure; called by the BarStore.

    blob     version u8 · CRC-32 of the rest u32 · bars u32 · length of the body u32 · body, LZ4 block
    body     BODY header · columns, each padded to 8 bytes · exceptions (positions u32, padded, then values f64)

Prices and volumes that are decimal numbers are kept as integers: closes as steps, opens as steps from the close before,
highs and lows as distances from the candle's body, each column in the narrowest integer that holds it. The few values
that are no such decimals are exceptions, written over the result; where they are many the columns stay doubles.
"""

import struct
import zlib
from typing import Any

import lz4.block
import numpy as np
from numpy.typing import NDArray

from infrastructure.bars import Bars
from infrastructure.errors import Malformed
from infrastructure.persistence.decimals import POWERS, AnyInts, Ints, exceptions, scaled
from infrastructure.persistence.scratch import Scratch, borrowed

VERSION = 1
HEAD = struct.Struct("<BIII")
CHECKED_FROM = 5  # the CRC covers everything behind itself
#: First time, step or unit of times, first close, exceptions, decimals of prices and of volumes, bytes of a price while
#: it is summed, kind of each column.
BODY = struct.Struct("<qqqIBBB6B3x")
LARGEST_BODY = 2**30

INTEGERS: tuple[np.dtype[Any], ...] = (np.dtype("<i1"), np.dtype("<i2"), np.dtype("<i4"), np.dtype("<i8"))
LIMITS = tuple((int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)) for dtype in INTEGERS)
DOUBLES, ABSENT = 8, 9  # other kinds of a column; below 4 they are indexes of INTEGERS
WIDTHS: dict[int, Any] = {4: np.int32, 8: np.int64}
RAW = 255  # "decimals" of columns kept as doubles
ACCELERATION = 32  # of LZ4


def allocate(n: int) -> Bars:
    """Room for n bars in one block: a large one costs fewer page faults than six."""
    block = np.empty((6, n))
    return Bars(block[0].view(np.int64), *block[1:])


@np.errstate(all="ignore")
def encode(bars: Bars) -> bytes:
    with borrowed() as scratch:
        return _encode(bars, scratch)


def _encode(bars: Bars, scratch: Scratch) -> bytes:
    n = len(bars)
    out = _Writer()
    first, step = _put_times(out, np.ascontiguousarray(bars.time_ms, np.int64))
    prices = np.stack([bars.open, bars.high, bars.low, bars.close], out=scratch.take("prices", (4, n), np.float64))
    volumes = np.ascontiguousarray(bars.volume, np.float64)[None]
    scaled_prices = scaled(prices, scratch)
    first_close, width = 0, 8
    if scaled_prices is None:
        for column in prices:
            out.put(column, DOUBLES)
    else:
        first_close, width = _put_prices(out, scaled_prices.integers)
    scaled_volumes = scaled(volumes, scratch)  # not before: what is scaled lies in one room
    out.put(volumes[0], DOUBLES) if scaled_volumes is None else out.put_narrow(scaled_volumes.integers[0])
    at, values = exceptions(scaled_prices, prices, 0), exceptions(scaled_volumes, volumes, 4 * n)
    positions, odd = (np.concatenate(pair) for pair in zip(at, values, strict=True))
    out.pad(positions.astype("<u4"))
    out.pad(odd.astype("<f8"))
    decimals = (RAW if one is None else one.decimals for one in (scaled_prices, scaled_volumes))
    head = BODY.pack(first, step, first_close, len(odd), *decimals, width, *out.kinds)
    body = b"".join((head, *out.parts))
    sizes, packed = struct.pack("<II", n, len(body)), _packed(body)
    return b"".join((struct.pack("<BI", VERSION, zlib.crc32(packed, zlib.crc32(sizes))), sizes, packed))


def _packed(body: bytes) -> bytes:
    """Hastily: a tenth more bytes in a fifth of the time, and fewer on the disk, where zstd packs them again."""
    return lz4.block.compress(body, mode="fast", acceleration=ACCELERATION, store_size=False)


def count(blob: bytes) -> int:
    """How many bars the blob says it holds, without unpacking it."""
    return _head(blob)[0]


def decode(blob: bytes) -> Bars:
    n, size = _checked(blob)  # before anything is allocated for what it says
    bars = allocate(n)
    _unpack(blob, n, size, bars, None, None)
    return bars


def decode_into(blob: bytes, out: Bars, at: int, start_ms: int | None = None, end_ms: int | None = None) -> int:
    """Writes the blob's bars to out[at:]; gives how many. Malformed when anything about the blob is wrong.
    With a limit only those with start_ms <= time < end_ms, which costs less; for bars of increasing times."""
    n, size = _checked(blob)
    return _unpack(blob, n, size, out[at : at + n], start_ms, end_ms)


def _checked(blob: bytes) -> tuple[int, int]:
    """Bars and bytes of the body."""
    n, size = _head(blob)
    if zlib.crc32(memoryview(blob)[CHECKED_FROM:]) != struct.unpack_from("<I", blob, 1)[0]:
        raise Malformed("The checksum of a blob of bars is wrong.", repr(blob))
    return n, size


def _unpack(blob: bytes, n: int, size: int, out: Bars, start_ms: int | None, end_ms: int | None) -> int:
    try:
        body = lz4.block.decompress(memoryview(blob)[HEAD.size :], uncompressed_size=size)
        return _decode_body(body, n, out, start_ms, end_ms)
    except (lz4.block.LZ4BlockError, ValueError, TypeError, ArithmeticError, LookupError, struct.error) as error:
        raise Malformed(f"A blob of bars cannot be unpacked: {error}", repr(blob)) from None


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
        self.parts: list[Any] = []  # arrays and the bytes between them

    def pad(self, column: NDArray[Any]) -> None:
        self.parts += (column, bytes(-column.nbytes % 8))

    def put(self, column: NDArray[Any], kind: int) -> None:
        self.kinds.append(kind)
        self.pad(column)

    def put_narrow(self, column: AnyInts) -> None:
        low, high = int(column.min(initial=0)), int(column.max(initial=0))
        kind = next(kind for kind, (least, most) in enumerate(LIMITS) if least <= low and high <= most)
        self.put(column.astype(INTEGERS[kind]), kind)


class _Reader:
    """Hands out the body's columns in order, as views."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self.at = at

    def take(self, dtype: np.dtype[Any], n: int) -> NDArray[Any]:
        column = np.frombuffer(self._body, dtype, n, self.at)
        self.at += -(-column.nbytes // 8) * 8
        return column

    def column(self, kind: int, n: int) -> NDArray[Any]:
        return self.take(np.dtype("<f8") if kind == DOUBLES else INTEGERS[kind], n)


def _decode_body(body: bytes, n: int, out: Bars, start_ms: int | None, end_ms: int | None) -> int:
    first, step, first_close, odd, price_decimals, volume_decimals, width, time_kind, *kinds = BODY.unpack_from(body)
    reader = _Reader(body, BODY.size)
    times = _decode_times(reader, time_kind, n, first, step)
    columns = [reader.column(kind, n) for kind in kinds]
    positions, values = reader.take(np.dtype("<u4"), odd), reader.take(np.dtype("<f8"), odd)
    if reader.at != len(body):
        raise ValueError("its length is wrong")
    low = 0 if start_ms is None else int(np.searchsorted(times, start_ms))
    high = n if end_ms is None else max(low, int(np.searchsorted(times, end_ms)))
    out = out[: high - low]
    out.time_ms[:] = times[low:high]
    if price_decimals == RAW:
        for target, column in zip((out.open, out.high, out.low, out.close), columns[:4], strict=True):
            target[:] = column[low:high]
    else:
        _decode_prices(columns, first_close, WIDTHS[width], POWERS[price_decimals], out, low, high)
    if volume_decimals == RAW:
        out.volume[:] = columns[4][low:high]
    else:
        np.divide(columns[4][low:high], POWERS[volume_decimals], out=out.volume)
    if odd:
        which, where = np.divmod(positions.astype(np.int64), n)
        inside = (low <= where) & (where < high)
        for index, target in enumerate(out.columns[1:]):
            here = inside & (which == index)
            target[where[here] - low] = values[here]
    return high - low


def _decode_times(reader: _Reader, kind: int, n: int, first: int, step: int) -> Ints:
    end = first + n * step
    if kind == ABSENT and step > 0 and end < 2**63:
        return np.arange(first, end, step)
    times = np.arange(n) if kind == ABSENT else np.cumsum(reader.column(kind, n), dtype=np.int64)
    times *= step
    times += first
    return times


def _decode_prices(
    columns: list[NDArray[Any]], first_close: int, integer: Any, scale: float, out: Bars, low: int, high: int
) -> None:
    """The bars from `low` to `high`: closes are summed from the first bar on, the rest costs only what is wanted."""
    steps, opens, highs, lows, _ = (column[:high] for column in columns)
    closes = np.empty(high + 1, integer)
    closes[0], closes[1:] = first_close, steps
    np.cumsum(closes, out=closes)
    close = closes[low + 1 :]
    open_ = closes[low:-1] + opens[low:]
    np.divide(close, scale, out=out.close)
    np.divide(open_, scale, out=out.open)
    edge: Any = np.maximum(open_, close)
    edge += highs[low:]
    np.divide(edge, scale, out=out.high)
    np.minimum(open_, close, out=edge)
    edge -= lows[low:]
    np.divide(edge, scale, out=out.low)


def _put_times(out: _Writer, times: Ints) -> tuple[int, int]:
    """First time and step; steps that differ become a column of multiples of their common unit (wrapping is exact)."""
    if len(times) < 2:
        out.put(times[:0], ABSENT)
        return (int(times[0]) if len(times) else 0), 0
    steps = times[1:] - times[:-1]
    others = steps[steps != steps[0]]
    if not len(others):
        out.put(times[:0], ABSENT)
        return int(times[0]), int(steps[0])
    unit = max(int(np.gcd(np.gcd.reduce(others), steps[0])), 1)
    out.put_narrow(np.concatenate(([0], steps // unit)))
    return int(times[0]), unit


def _put_prices(out: _Writer, prices: AnyInts) -> tuple[int, int]:
    """First close and width; columns: steps of close, open from the close before, high above the body, low below it."""
    narrow = prices.max(initial=0) < 2**29 and prices.min(initial=0) > -(2**29)  # sums and differences fit 32 bits
    open_, high, low, close = prices.astype(np.int32 if narrow else np.int64, copy=False)
    before = np.concatenate((close[:1], close[:-1]))
    out.put_narrow(close - before)
    out.put_narrow(open_ - before)
    out.put_narrow(high - np.maximum(open_, close))
    out.put_narrow(np.minimum(open_, close) - low)
    return int(close[0]) if close.size else 0, 4 if narrow else 8
