"""Deterministic noise over an integer lattice, without state: (key, index) → number. Pure; the market model draws here.

Everything is a hash, so any stretch of time can be computed by itself, in any order, with the same result.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def key(*parts: object) -> np.uint64:
    """A stream of its own for each combination of parts."""
    text = "\x1f".join(map(str, parts)).encode()
    return np.uint64(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little"))


def uniform(stream: np.uint64, start: int, stop: int) -> NDArray[np.float64]:
    """One number in [0, 1) for each index in [start, stop)."""
    return at(stream, np.arange(start, stop, dtype=np.int64))


def at(stream: np.uint64, indices: NDArray[np.int64]) -> NDArray[np.float64]:
    """The same numbers for chosen indices (splitmix64's finaliser)."""
    h = indices.astype(np.uint64)
    h *= _GOLDEN
    h += stream
    h ^= h >> np.uint64(30)
    h *= _MIX_1
    h ^= h >> np.uint64(27)
    h *= _MIX_2
    h ^= h >> np.uint64(31)
    h >>= np.uint64(11)
    return h.astype(np.float64) * 2.0**-53


def fractal(streams: list[np.uint64], start: int, stop: int, sigma: float) -> NDArray[np.float64]:
    """Value noise at the lattice points start … stop inclusive: a bounded kind of random walk, its steps about `sigma`.

    `streams[o]` feeds the octave whose lattice has 2**o points between two of its own. From the coarsest down, each
    octave is the one above interpolated to twice the points, plus its own noise; so n points cost about 2n hashes.
    """
    octave = len(streams) - 1
    low, high = start >> octave, ((stop - 1) >> octave) + 1
    values = _octave(streams, octave, low, high, sigma)
    for octave in range(len(streams) - 2, -1, -1):
        finer = np.empty(2 * len(values) - 1)
        finer[0::2] = values
        finer[1::2] = (values[:-1] + values[1:]) * 0.5
        base, low, high = 2 * low, start >> octave, ((stop - 1) >> octave) + 1
        values = finer[low - base : high - base + 1] + _octave(streams, octave, low, high, sigma)
    return values


def _octave(streams: list[np.uint64], octave: int, low: int, high: int, sigma: float) -> NDArray[np.float64]:
    return (uniform(streams[octave], low, high + 1) * 2 - 1) * (sigma * 2 ** (octave / 2))
