"""Equality of bars to the last bit: NaN payloads and the sign of zero count."""

import numpy as np

from infrastructure.bars import Bars


def same_bits(one: Bars, other: Bars) -> bool:
    return all(
        np.array_equal(np.asarray(a).view(np.int64), np.asarray(b).view(np.int64))
        for a, b in zip(one.columns, other.columns, strict=True)
    )
