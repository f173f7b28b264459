import struct
import zlib

import lz4.block
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from infrastructure.bars import Bars
from infrastructure.errors import Malformed
from infrastructure.persistence import bar_codec as codec
from tests.persistence.bits import same_bits

MINUTE = 60_000
NAN = float("nan")
any_time = st.integers(-(2**63), 2**63 - 1)
any_double = st.one_of(
    st.floats(width=64, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -0.0, NAN, float("inf"), -float("inf"), 5e-324, 1.7976931348623157e308, 2.0**53, -(2.0**53)]),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),  # any NaN payload
)
decimal = st.tuples(st.integers(-(10**11), 10**11), st.integers(0, 9)).map(lambda pair: pair[0] / 10 ** pair[1])
tick = st.integers(1, 10**6).map(lambda ticks: ticks / 100)


@st.composite
def any_bars(draw: st.DrawFn) -> Bars:
    n = draw(st.integers(0, 40))
    elements = draw(st.sampled_from([any_double, decimal, tick, tick | any_double]))
    columns = [draw(arrays.arrays(np.float64, n, elements=elements)) for _ in range(5)]
    grid = draw(st.booleans())
    times = draw(arrays.arrays(np.int64, n, elements=st.integers(1, 4) if grid else any_time))
    if grid:
        times = draw(st.integers(-(10**14), 10**14)) + MINUTE * np.cumsum(times)
    return Bars(times, *columns)


def minutes(n: int, price: float = 100.0, decimals: int = 2, lot: float = 1.0) -> Bars:
    """A seeded walk on a tick of the given decimals."""
    random = np.random.default_rng(n)
    tick = 10.0**decimals
    close = np.round(price * tick) + np.cumsum(random.integers(-30, 31, n))
    open_ = np.concatenate((close[:1], close[:-1])) + random.integers(-2, 3, n)
    high = np.maximum(open_, close) + random.integers(0, 20, n)
    low = np.minimum(open_, close) - random.integers(0, 20, n)
    times = 1_700_000_040_000 + MINUTE * np.arange(n)
    return Bars(times, open_ / tick, high / tick, low / tick, close / tick, random.integers(0, 100_000, n) / lot)


@given(any_bars())
@settings(max_examples=200)
def test_any_bars_come_back_to_the_last_bit(bars: Bars) -> None:
    blob = codec.encode(bars)
    assert codec.count(blob) == len(bars)
    assert same_bits(codec.decode(blob), bars)


@pytest.mark.slow
@given(any_bars())
@settings(max_examples=1200)
def test_any_bars_come_back_to_the_last_bit_in_many_examples(bars: Bars) -> None:
    assert same_bits(codec.decode(codec.encode(bars)), bars)


@pytest.mark.parametrize(
    ("bars", "most"),
    [
        (minutes(10_000), 8.1),
        (minutes(10_000, price=1e9), 8.1),  # over 2^31 ticks
        (minutes(10_000, decimals=8), 8.1),
        (minutes(10_000, lot=1e8), 9),
        (minutes(10_000, lot=NAN), 5),
        (minutes(10_000, lot=float("inf")), 5),
    ],
    ids=["ticks", "huge", "eight decimals", "fractional volume", "no volume", "zero volume"],
)
def test_prices_on_a_tick_take_few_bytes(bars: Bars, most: float) -> None:
    blob = codec.encode(bars)
    assert same_bits(codec.decode(blob), bars)
    assert len(blob) / len(bars) <= most


def test_a_few_odd_prices_cost_little() -> None:
    bars = minutes(10_000)
    odd = Bars(*(column.copy() for column in bars.columns))
    odd.open[::100] += 1e-7
    odd.close[5000] = 0.1 + 0.2
    odd.high[0], odd.low[0], odd.volume[0] = float("inf"), -0.0, NAN
    odd.close[9999] = 1e300
    blob = codec.encode(odd)
    assert same_bits(codec.decode(blob), odd)
    assert len(blob) < 1.4 * len(codec.encode(bars))
    assert len(zlib.compress(blob)) < 1.2 * len(zlib.compress(codec.encode(bars)))  # as the database packs it again


def test_prices_that_are_no_decimals_are_kept_as_doubles() -> None:
    random = np.random.default_rng(1)
    bars = Bars(MINUTE * np.arange(1000), *random.random((5, 1000)))
    blob = codec.encode(bars)
    assert same_bits(codec.decode(blob), bars)
    assert len(blob) < 1000 * 41


def test_times_of_a_stock_cost_next_to_nothing() -> None:
    bars = minutes(3900)
    day = np.arange(3900) // 390
    stock = Bars(day * 86_400_000 + np.arange(3900) % 390 * MINUTE, *bars.columns[1:])
    assert same_bits(codec.decode(codec.encode(stock)), stock)
    assert len(codec.encode(stock)) < len(codec.encode(bars)) + 300


def test_several_blobs_are_unpacked_into_one_block() -> None:
    bars = minutes(100)
    out = codec.allocate(100)
    first = codec.decode_into(codec.encode(bars[:30]), out, 0)
    assert codec.decode_into(codec.encode(bars[30:]), out, first) == 70
    assert same_bits(out, bars)


@given(any_bars(), st.none() | any_time, st.none() | any_time)
@settings(max_examples=300)
def test_only_the_bars_within_limits_are_unpacked(bars: Bars, start_ms: int | None, end_ms: int | None) -> None:
    bars = bars[np.unique(bars.time_ms, return_index=True)[1]]
    expected = bars.between(start_ms, end_ms)
    out = codec.allocate(len(bars) + 1)
    assert codec.decode_into(codec.encode(bars), out, 1, start_ms, end_ms) == len(expected)
    assert same_bits(out[1 : len(expected) + 1], expected)


@pytest.mark.parametrize("volume", [0.0, NAN], ids=["all exact", "some exceptions"])
def test_limits_may_lie_anywhere_among_the_times(volume: float) -> None:
    bars = minutes(50)
    bars.volume[7], bars.volume[20] = volume, volume
    blob = codec.encode(bars)
    times = bars.time_ms.tolist()
    for start_ms in (None, times[0] - 1, times[0], times[20] - 1, times[20], times[-1], times[-1] + 1):
        for end_ms in (None, times[0], times[20], times[20] + 1, times[-1], times[-1] + MINUTE):
            out = codec.allocate(50)
            count = codec.decode_into(blob, out, 0, start_ms, end_ms)
            assert same_bits(out[:count], bars.between(start_ms, end_ms))


@given(st.data())
@settings(max_examples=300)
def test_a_blob_changed_anywhere_is_malformed(data: st.DataObject) -> None:
    blob = bytearray(codec.encode(minutes(50)))
    at = data.draw(st.integers(0, len(blob) - 1))
    blob[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Malformed):
        codec.decode(bytes(blob))


def test_a_blob_cut_or_extended_anywhere_is_malformed() -> None:
    blob = codec.encode(minutes(20))
    for wrong in [*(blob[:end] for end in range(len(blob))), blob + b"\0"]:
        with pytest.raises(Malformed):
            codec.decode(wrong)


@given(st.data())
@settings(max_examples=500)
def test_a_body_changed_under_a_right_checksum_is_malformed_or_decodes_without_another_error(
    data: st.DataObject,
) -> None:
    """What a faulty writer could have left: never an exception that nobody expects."""
    blob = codec.encode(minutes(30))
    _, _, n, size = codec.HEAD.unpack_from(blob)
    body = bytearray(lz4.block.decompress(blob[codec.HEAD.size :], uncompressed_size=size))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, codec.BODY.size - 1) | st.integers(0, size - 1))
        body[at] = data.draw(st.integers(0, 255))
    rest = struct.pack("<II", n, size) + lz4.block.compress(bytes(body), store_size=False)
    try:
        bars = codec.decode(struct.pack("<BI", codec.VERSION, zlib.crc32(rest)) + rest)
    except Malformed:
        return
    assert len(bars) == n
