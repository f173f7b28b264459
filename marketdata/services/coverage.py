"""What a page of history tells about the time it covers. Used by pulls and backfills, which hand it to the
CoverageStore once the page is stored."""

from collections.abc import Sequence

from infrastructure.intervals import MINUTE_MS, Interval
from infrastructure.persistence import CoverageStore, Database, Series
from infrastructure.persistence.coverage import Ended
from infrastructure.ranges import Range
from infrastructure.tradingview.base import History
from infrastructure.tradingview.hours import TradingHours
from marketdata.services import hours

SETTLE_MS = 5 * MINUTE_MS  # so long after its close a source may still come up with a bar


def store() -> CoverageStore:
    return CoverageStore(Database())


class Asked:
    """One call of `provider.pages`: which stretch of time each page covers. Pages come newest first, none overlaps."""

    def __init__(self, interval: Interval, start_ms: int | None, end_ms: int | None, bars: int | None = None) -> None:
        self._interval = interval
        self._left = bars
        self._start_ms = start_ms
        self._end_ms = end_ms
        self.until_ms: int | None = None  # nothing before it is covered yet
        self.ended: Ended = ""

    @property
    def ended_ms(self) -> int | None:
        """Where the source has ended, once it did."""
        return self.until_ms if self.ended else None

    def received(self, page: History) -> list[Range]:
        """From its oldest bar to the page before it, or to the present."""
        if self.until_ms is None:
            self.until_ms = _complete_until(page, self._interval)
            if self._end_ms is not None:
                self.until_ms = min(self.until_ms, self._end_ms)
        self.ended = page.ended
        if self._left is not None:
            self._left -= len(page.bars)
        if not len(page.bars):
            return []
        covered = (int(page.bars.time_ms[0]), self.until_ms)
        self.until_ms = min(covered)
        return [covered]

    def exhausted(self) -> list[Range]:
        """After the last page of a range: the source has nothing between its oldest bar and the beginning. Unless it
        was that many bars which ended it."""
        full = self._left is not None and self._left <= 0
        if self._start_ms is None or self.until_ms is None or self.ended or full:
            return []
        return [(self._start_ms, self.until_ms)]


def note(series: Series, pages: Sequence[History], start_ms: int | None, bars: int | None = None) -> None:
    """All pages of one call, once they are stored."""
    asked = Asked(series.interval, start_ms, None, bars)
    covered = [part for page in pages for part in asked.received(page)]
    store().add(series, [*covered, *asked.exhausted()], asked.ended, asked.ended_ms)


def _complete_until(page: History, interval: Interval) -> int:
    """All bars that open before this moment are closed and known to the source."""
    if page.forming is not None:
        return page.forming.time_ms
    known = hours.of_info(page.info)
    last_ms = int(page.bars.time_ms[-1]) if len(page.bars) else None
    after_last_ms = None if last_ms is None else known.bar_close_ms(last_ms, interval)
    settled_ms = None if page.server_ms is None else _settled_ms(page.server_ms, page.info.delay_s, known, interval)
    return max((ms for ms in (after_last_ms, settled_ms) if ms is not None), default=0)


def _settled_ms(server_ms: int, delay_s: int, known: TradingHours, interval: Interval) -> int:
    """The open of the bar that was being made a while ago; bars before it have settled."""
    moment = server_ms - delay_s * 1000 - SETTLE_MS
    open_ms = known.bar_open_ms(moment, interval)
    return moment if open_ms is None else open_ms
