"""Whether new prices are the old ones times one factor, and which."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infrastructure.bars import Bars
from infrastructure.intervals import MINUTE_MS
from marketdata.services.rebasing import factor, rescaled, volume_factor


def priced(*closes: float, spread: float = 0.5) -> Bars:
    rows = [
        (number * MINUTE_MS, close, close + spread, close - spread, close, 10.0) for number, close in enumerate(closes)
    ]
    return Bars.from_rows(rows)


def ticked(bars: Bars, tick: float) -> Bars:
    columns = [np.round(column / tick) * tick for column in bars.columns[1:5]]
    return Bars(bars.time_ms, *columns, bars.volume)


@settings(deadline=None)
@given(
    st.lists(st.floats(20, 900), min_size=2, max_size=8),
    st.sampled_from([0.02, 0.05, 0.1, 0.25, 1 / 3, 0.5, 0.985, 1.5, 2.0, 3.0, 10.0]),
)
def test_a_split_is_seen_through_the_rounding_of_both_sides(closes: list[float], ratio: float) -> None:
    old = ticked(priced(*closes), 0.01)
    new = ticked(rescaled(old, ratio, 1 / ratio), 0.01)
    found = factor(old, new, 0.01)
    assert found is not None
    again = ticked(rescaled(old, found, 1 / found), 0.01)
    assert np.abs(again.close - new.close).max() <= 0.01 * (1 + 1e-6) * max(1.0, ratio)


@pytest.mark.parametrize("ratio", [0.25, 1 / 3, 1.5, 2.0, 10.0, 0.05])
def test_the_factor_of_a_split_is_exact(ratio: float) -> None:
    old = ticked(priced(512.34, 498.77, 505.01, 511.99), 0.01)
    assert factor(old, ticked(rescaled(old, ratio, 1.0), 0.01), 0.01) == ratio


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (priced(100, 101, 102), priced(100, 101, 102)),
        (priced(100, 101, 102), priced(50, 101, 102)),  # one corrected bar
        (priced(100, 101, 102), priced(50, 50.5, 60)),  # several corrections
        (priced(100, 101, 102), priced(100.01, 101.01, 102.01)),  # a tick
        (priced(100), priced(50)),  # one bar proves nothing
        (priced(-2, 1, 3), priced(-4, 2, 6)),
        (priced(100, 101), priced()),
    ],
)  # fmt: skip
def test_corrections_are_no_split(old: Bars, new: Bars) -> None:
    assert factor(old, new, 0.01) is None


def test_newer_bars_that_were_stored_since_do_not_hide_a_split() -> None:
    """The feed stores the last few bars anew when it connects, with the new prices."""
    before = priced(100, 101, 102, 103, 104, 105)
    after = rescaled(before, 0.5, 2.0)
    for changed, found in ((6, 0.5), (4, 0.5), (3, 0.5), (2, None), (1, None), (0, None)):
        assert factor(Bars.concat([before[:changed], after[changed:]]), after, 0.01) == found
    corrected = Bars.concat([after[:3], before[3:]])  # the newest ones differ: a feed has stored nothing like this
    assert factor(corrected, after, 0.01) is None


def test_only_bars_that_both_have_are_compared() -> None:
    old, new = priced(100, 101, 102, 103), rescaled(priced(100, 101, 102, 103, 999), 0.5, 2.0)
    assert factor(old[1:3], new, 0.01) == 0.5


def test_volumes_have_a_factor_of_their_own_or_none() -> None:
    old = priced(100, 101, 102)
    assert volume_factor(old, rescaled(old, 0.5, 2.0)) == 2.0
    assert volume_factor(old, rescaled(old, 0.5, 1.0)) == 1.0
    odd = Bars(*old.columns[:5], old.volume * np.array([1.0, 2.0, 3.0]))  # type: ignore[arg-type]
    assert volume_factor(old, odd) == 1.0
