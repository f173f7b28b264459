"""A backfill job's dealings with the stores: what is still missing, where a page goes, what it covers. Used by
`backfill`, which talks to the source and keeps the job."""

from contextlib import suppress
from functools import partial

from infrastructure.errors import Malformed
from infrastructure.intervals import parse_interval
from infrastructure.persistence import BarStore, Coverage, Series, Written, mongodb_errors
from infrastructure.persistence.bar_documents import EARLIEST_MS, LATEST_MS
from infrastructure.ranges import Range, united
from infrastructure.times import to_ms
from infrastructure.tradingview.base import History, SymbolInfo
from marketdata.models import BackfillJob, Symbol
from marketdata.services import coverage, hours, intake, retention
from marketdata.services.coverage import Asked
from marketdata.services.planning import Ask, Market, Wish, next_ask
from marketdata.services.series import series_of


class Errand:
    """One process's work on one job. Goes from the newest missing stretch to the oldest, and to each only once."""

    def __init__(self, job: BackfillJob, bars: BarStore, now_ms: int) -> None:
        self.job = job
        self.interval = parse_interval(job.interval)
        self._bars = bars
        self._coverage = coverage.store()
        self._market = _market(job.symbol, job.interval, now_ms)
        # Everything newer than what the job has reached was asked for when it began, whatever has closed since.
        self._asked: list[Range] = [] if job.reached_at is None else [(to_ms(job.reached_at), LATEST_MS)]
        self._asking: dict[Ask, Asked] = {}
        self._aside = 0  # bars that came and cannot be true: no others are fetched for them
        self.held = job.held  # bars of a wish for a number of them that were there already

    def next(self) -> Ask | None:
        series = self._series()
        known = Coverage() if series is None or self.job.force else self._coverage.of(series)
        stored = partial(self._stored, series)
        ask = next_ask(self._wish, self._market, (*known.ranges, *self._asked), known.ended_ms, stored)
        if ask and ask.bars is not None and self.job.bars is not None:
            self.held = max(self.job.bars - ask.bars - self.job.received, 0)
        return ask

    def store(self, ask: Ask, page: History) -> Written:
        """Bars first: what is noted as covered is there."""
        asked = self._asking.setdefault(ask, Asked(self.interval, ask.start_ms, ask.end_ms, ask.bars))
        series = self._target(page.info)
        good = intake.accept(page, series.symbol)
        self._aside += len(page.bars) - len(good)
        written = self._bars.write(series, good)
        covered = asked.received(page)
        self._coverage.add(series, covered, asked.ended, asked.ended_ms)
        self._asked = list(united([*self._asked, *covered]))  # pages touch: it stays short
        return written

    def finish(self, ask: Ask) -> None:
        """The source said all that it has to say to it."""
        asked = self._asking.pop(ask)
        if (rest := asked.exhausted()) and (series := self._series()):
            self._coverage.add(series, rest)
        if ask.start_ms is not None:
            low = ask.start_ms
        else:
            low = EARLIEST_MS if asked.ended or asked.until_ms is None else asked.until_ms
        self._asked.append((low, LATEST_MS if ask.end_ms is None else ask.end_ms))

    def complete(self) -> None:
        """Nothing is missing any more."""

    @property
    def _wish(self) -> Wish:
        job = self.job
        return Wish(
            None if job.bars is None else job.bars - self._aside,
            None if job.start_at is None else to_ms(job.start_at),
            None if job.end_at is None else to_ms(job.end_at),
        )

    def _series(self) -> Series | None:
        return self._bars.find(self.job.symbol, self.interval)

    def _target(self, info: SymbolInfo) -> Series:
        return series_of(self._bars, self.job.symbol, self.interval, info)

    def _stored(self, series: Series | None, start_ms: int, end_ms: int) -> int:
        return 0 if series is None else self._bars.count(series, start_ms, end_ms)


@mongodb_errors()
def _market(key: str, interval_name: str, now_ms: int) -> Market:
    """From what the platform knows already: planning costs no request."""
    interval = parse_interval(interval_name)
    symbol = Symbol.objects.filter(pk=key).first()
    known = None
    with suppress(Malformed):
        known = None if symbol is None else hours.of_symbol(symbol)
    kept_ms = None if symbol is None else retention.kept_from_ms(symbol, interval, now_ms)
    bottom_ms = EARLIEST_MS if kept_ms is None else kept_ms
    if symbol is None or known is None:
        return Market(interval, None, None, bottom_ms)
    newest_ms = hours.newest_known_ms(known, interval, symbol.delay_s, now_ms)
    return Market(interval, known, None if newest_ms is None else newest_ms + 1, bottom_ms)
