"""Doubles that are decimal numbers ↔ integers of one scale, and which of them are no such decimals: exact to the last
bit. Pure; used by `bar_codec`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infrastructure.persistence.scratch import Scratch

POWERS = 10.0 ** np.arange(10)
EXACT = 2.0**53  # integers up to here are exact doubles
SAMPLE = np.arange(64) * 2_654_435_761  # modulo the bars: spread, and in step with no pattern of theirs
MOST_EXCEPTIONS = 0.05  # a share of the values; beyond it doubles take less room

Ints = NDArray[np.int64]
AnyInts = NDArray[np.int32] | NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scaled:
    """values = integers / 10**decimals, but for those marked as odd (None: all are)."""

    decimals: int
    integers: AnyInts
    odd: NDArray[np.bool_] | None


def scaled(values: Doubles, scratch: Scratch) -> Scaled | None:
    """Rows of one length, as integers of one scale; None where doubles take less room. The integers may lie in the
    scratch: they are good until it is used again."""
    for decimals in _likely_decimals(values):
        found = _as_integers(values, decimals, scratch)
        if found.odd is None or found.odd.sum() <= MOST_EXCEPTIONS * found.odd.size:
            return found
    return None


def _likely_decimals(values: Doubles) -> list[int]:
    """Those with which most of a sample are exact."""
    sample = values[:, SAMPLE % max(values.shape[1], 1)].ravel() if values.size else np.zeros(1)
    odd = _rounded(sample, POWERS[:, None])[1]
    return [int(decimals) for decimals in np.flatnonzero(odd.sum(axis=1) <= MOST_EXCEPTIONS * sample.size)]


def _as_integers(values: Doubles, decimals: int, scratch: Scratch) -> Scaled:
    power = POWERS[decimals]
    back, narrow = scratch.take("back", values.shape, np.float64), scratch.take("narrow", values.shape, np.int32)
    np.rint(np.multiply(values, power, out=back), out=back)
    np.copyto(narrow, back, casting="unsafe")
    np.divide(narrow, power, out=back)
    if np.array_equal(back.view(np.int64), values.view(np.int64)):  # nearly always: half the work
        return Scaled(decimals, narrow, None)
    rounded, odd = _rounded(values, power)
    _fill(rounded, ~(np.abs(rounded) < EXACT))
    return Scaled(decimals, rounded.astype(np.int64), odd)


def _rounded(values: Doubles, power: Any) -> tuple[Doubles, NDArray[np.bool_]]:
    """values * power without fractions, and which of these do not give the value back: NaN and infinity too."""
    rounded = np.rint(values * power) + 0.0  # an integer has no -0.0: make it differ here, so that it is odd
    back = rounded / power
    return rounded, ~(np.abs(rounded) < EXACT) | (back.view(np.int64) != values.view(np.int64))


def _fill(rows: Doubles, lost: NDArray[np.bool_]) -> None:
    """Puts the value before (or 0) where there is no usable one, so that a step there needs no wide integer."""
    rows[:, 0][lost[:, 0]] = 0
    kept = ~lost
    kept[:, 0] = True
    before = np.maximum.accumulate(np.where(kept, np.arange(rows.shape[1]), 0), axis=1)
    rows[:] = np.take_along_axis(rows, before, axis=1)


def exceptions(found: Scaled | None, values: Doubles, offset: int) -> tuple[Ints, Doubles]:
    """Where the odd values stand, counted on from the offset, and what they are."""
    if found is None or found.odd is None:
        return np.empty(0, np.int64), np.empty(0)
    positions = np.flatnonzero(found.odd)
    return positions + offset, values.ravel()[positions]
