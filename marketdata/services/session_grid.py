"""Which session, and which bar of an interval, a moment belongs to; for whole columns of times at once. Pure; used by
the checks of bars on their way in and by resampling."""

from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from infrastructure.intervals import DAY_MS, Interval
from infrastructure.tradingview.hours import TradingHours

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).date()
MONTH_MS = 32 * DAY_MS  # more than any period is long: the one before the first time is found

Times = NDArray[np.int64]


def spans_near(times: Times, hours: TradingHours) -> tuple[Times, Times, NDArray[np.bool_]]:
    """Opens, closes, and whether it is its date's first, of the spans round these times: no more dates than bars need,
    whatever lies between them."""
    days = times // DAY_MS
    begun = days[np.diff(days, prepend=days[:1] - 1) != 0].tolist()  # most often the only bars that need a look
    near = sorted({day + around for day in begun for around in range(-1, hours.back + 2)})
    rows = [
        (span.open_ms, span.close_ms, number == 0)
        for day in near
        for number, span in enumerate(hours.spans_on(_EPOCH + timedelta(days=day)))
    ]
    table = np.array(sorted(rows), np.int64).reshape(-1, 3)
    return table[:, 0], table[:, 1], table[:, 2] == 1


def bar_opens(times: Times, hours: TradingHours, interval: Interval) -> Times:
    """The open of the bar that each time belongs to. One outside the trading hours belongs to the grid, or the period,
    that began before it."""
    if not len(times):
        return times
    if interval.intraday:
        opens, _, _ = spans_near(times, hours)
    else:
        opens = hours.opens(int(times[0]) - MONTH_MS, int(times[-1]) + 1, interval)
    place = np.searchsorted(opens, times, "right") - 1
    begun = np.where(place >= 0, opens[place] if len(opens) else times, times)
    return begun + (times - begun) // interval.length_ms * interval.length_ms if interval.intraday else begun
