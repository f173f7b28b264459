"""The simulated market: any bars, trades and quotes of any instrument at any time, from a seed alone.

`now_ms` is always the true time; an instrument whose data are delayed answers as of `now_ms - delay`. Everything is
computed on demand and kept in bounded caches, and a method gives the same answer whenever it is asked. Used by the
server, and by tests as the truth to compare with. Safe to share between threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Rejected
from infrastructure.intervals import DAY_MS, INTERVALS, MINUTE_MS, Interval
from infrastructure.simulator.catalogue import CATALOGUE
from infrastructure.simulator.instrument import Instrument
from infrastructure.simulator.prices import MINUTE, NO_TRADES, Prices, Row, Rows, Trades, aggregate, joined, merged
from infrastructure.tradingview.base import Quote, SymbolInfo

CHUNK_BARS = 8192  # 0.4 MB; CHUNKS of them are the most that is kept
CHUNKS = 160
LONGEST_CHUNK_MS = 364 * DAY_MS
BLOCK_MINUTES = 15
LOOK_BACK_DAYS = 12
DAY = INTERVALS["1d"]


class Market:
    def __init__(self, seed: int = 1, instruments: Iterable[Instrument] = CATALOGUE) -> None:
        self.instruments = tuple(instruments)
        self._prices = {item.name: Prices(seed, item) for item in self.instruments}
        self._by_name = {name: item for item in self.instruments for name in (item.full_name, *item.aliases, item.name)}
        self._chunk = lru_cache(CHUNKS)(self._computed_chunk)
        self._before = lru_cache(4096)(self._computed_before)
        self._running: dict[tuple[str, Interval], tuple[int, int, Row | None]] = {}  # one entry each
        self._block = lru_cache(4096)(self._computed_block)
        self._trades = lru_cache(4096)(self._computed_trades)
        self._day = lru_cache(4096)(self._computed_day)
        self._days = lru_cache(4096)(self._computed_days)
        self._first_open = lru_cache(512)(self._computed_first_open)

    def find(self, name: str) -> Instrument | None:
        """By its name, the name of its venue, or an old name."""
        return self._by_name.get(name.upper())

    def symbol(self, name: str) -> Instrument:
        item = self.find(name)
        if item is None:
            raise Rejected(f"The simulator has no symbol {name!r}.")
        return item

    def info(self, name: str, *, paid: bool = False) -> SymbolInfo:
        """What resolving the symbol tells; with a paid token its own venue answers."""
        item = self.symbol(name)
        return SymbolInfo(
            symbol=name,
            full_name=item.name if paid else item.full_name,
            pro_name=item.name,
            exchange=(item.exchange or item.prefix) if paid else item.display_exchange,
            listed_exchange=item.prefix,
            description=item.description,
            type=item.type,
            currency=item.currency,
            timezone=item.timezone,
            session=item.session,
            holidays=item.holidays,
            corrections=item.corrections,
            price_scale=item.pricescale,
            min_move=item.minmov,
            has_intraday=item.has_intraday,
            has_volume=item.has_volume,
            aliases=item.aliases,
            update_mode=item.update_mode,
        )

    def bars(self, name: str, interval: Interval, start_ms: int, end_ms: int) -> Bars:
        """Every bar that opens in [start, end), complete, whether or not its time has come."""
        item = self.symbol(name)
        width = _chunk_ms(interval)
        parts = [self._chunk(item.name, interval, k) for k in range(start_ms // width, -(-end_ms // width))]
        return self._bars(item, joined(parts)).between(start_ms, end_ms) if parts else Bars.empty()

    def last(self, name: str, interval: Interval, count: int, before_ms: int) -> Bars:
        """The newest `count` bars that open before that time, complete."""
        item = self.symbol(name)
        return self._bars(item, self._last(item, interval, count, before_ms))

    def history(self, name: str, interval: Interval, count: int, now_ms: int) -> Bars:
        """The newest `count` bars as of now; the last one is forming where the market is open."""
        item = self.symbol(name)
        data_ms = now_ms - item.delay_s * 1000
        open_ms = item.hours.bar_open_ms(data_ms, interval)
        forming = self.forming(name, interval, now_ms)
        if forming is None:
            return self.last(name, interval, count, data_ms if open_ms is None else open_ms)
        newest = Bars.from_rows([(forming.time_ms, *values(forming))])
        return Bars.concat([self.last(name, interval, count - 1, forming.time_ms), newest])

    def seen(self, name: str, interval: Interval, start_ms: int, end_ms: int, now_ms: int) -> Bars:
        """The bars that open in [start, end), as of now: the last one may be forming, later ones are not there yet."""
        item = self.symbol(name)
        data_ms = now_ms - item.delay_s * 1000
        open_ms = item.hours.bar_open_ms(data_ms, interval)
        closed = self.bars(name, interval, start_ms, min(end_ms, data_ms if open_ms is None else open_ms))
        forming = self.forming(name, interval, now_ms)
        if forming is None or not start_ms <= forming.time_ms < end_ms:
            return closed
        return Bars.concat([closed, Bars.from_rows([(forming.time_ms, *values(forming))])])

    def forming(self, name: str, interval: Interval, now_ms: int) -> Bar | None:
        """The bar being made; None while the market is closed or before the bar's first trade."""
        item = self.symbol(name)
        data_ms = now_ms - item.delay_s * 1000
        open_ms = item.hours.bar_open_ms(data_ms, interval)
        if open_ms is None:
            return None
        minute = data_ms - data_ms % MINUTE_MS
        trades = self._trades(item.name, minute)
        row = merged(self._before(item.name, interval, open_ms, minute), trades.row(trades.index(data_ms)))
        return None if row is None else self._bar(item, open_ms, row)

    def first_ms(self, name: str, interval: Interval) -> int:
        """Open of the very first bar."""
        return self._first_open(self.symbol(name).name, interval)

    def trades(self, name: str, minute_ms: int) -> Trades:
        """The trades of the minute that opens then; none where it is closed or quiet."""
        return self._trades(self.symbol(name).name, minute_ms)

    def next_change_ms(self, name: str, now_ms: int) -> int:
        """When the quote may change next: at a trade of this minute or the next, or else at the next full minute."""
        item = self.symbol(name)
        data_ms = now_ms - item.delay_s * 1000
        minute = data_ms - data_ms % MINUTE_MS
        trades = self._trades(item.name, minute)
        after = trades.index(data_ms) + 1
        if after == len(trades.time_ms):
            # Looking ahead also spreads the making of the next minute: not all instruments do it as it begins.
            trades, after = self._trades(item.name, minute + MINUTE_MS), 0
        following = trades.time_ms[after] if trades.time_ms else minute + MINUTE_MS
        return following + item.delay_s * 1000

    def quote(self, name: str, now_ms: int) -> Quote:
        """All of it; volume is None where the instrument's quote has none, bid and ask where nobody makes a market."""
        item = self.symbol(name)
        prices = self._prices[item.name]
        data_ms = now_ms - item.delay_s * 1000
        minute = data_ms - data_ms % MINUTE_MS
        day, previous, last_ms = self._day(item.name, minute)
        trades = self._trades(item.name, minute)
        index = trades.index(data_ms)
        if index >= 0:
            day, last_ms = merged(day, trades.row(index)), trades.time_ms[index]
        assert day is not None  # noqa: S101  (_computed_day finds one, or there is a trade)
        last, reference = day[3], day[0] if previous is None else previous
        price, change = prices.price, prices.price(last - reference)
        below, above, bid_size, ask_size = prices.book(last_ms)
        traded = item.type not in ("index", "economic")
        return Quote(
            symbol=name,
            last=price(last),
            last_ms=last_ms,
            change=change,
            change_percent=round(change / price(reference) * 100, 2),
            bid=price(max(last - below, 1)) if traded else None,
            ask=price(last + above) if traded else None,
            bid_size=bid_size / item.volume_scale if traded else None,
            ask_size=ask_size / item.volume_scale if traded else None,
            volume=day[4] / item.volume_scale if item.quotes_volume else None,
            open=price(day[0]),
            high=price(day[1]),
            low=price(day[2]),
            previous_close=price(reference),
            session=self.session(name, now_ms),
            update_mode=item.update_mode,
            venue=item.full_name,
            currency=item.currency,
            description=item.description,
        )

    def session(self, name: str, now_ms: int) -> str:
        item = self.symbol(name)
        data_ms = now_ms - item.delay_s * 1000
        if item.hours.is_open(data_ms):
            return "market"
        if item.extended and item.premarket.is_open(data_ms):
            return "pre_market"
        return "post_market" if item.extended and item.postmarket.is_open(data_ms) else "out_of_session"

    def _last(self, item: Instrument, interval: Interval, count: int, before_ms: int) -> Rows:
        width, earliest = _chunk_ms(interval), self._first_open(item.name, interval)
        parts: list[Rows] = []
        have, k = 0, (before_ms - 1) // width
        while have < count and (k + 1) * width > earliest:
            rows = self._chunk(item.name, interval, k)
            rows = rows.part(0, int(np.searchsorted(rows.time_ms, before_ms)))
            have += len(rows.time_ms)
            parts.append(rows)
            k -= 1
        if not parts:
            return self._chunk(item.name, interval, k).part(0, 0)
        return joined(parts[::-1]).part(max(0, have - count), have)

    def _computed_chunk(self, name: str, interval: Interval, k: int) -> Rows:
        """All bars that open in the kth stretch of time of the interval's width."""
        item, width = self._by_name[name], _chunk_ms(interval)
        prices = self._prices[name]
        if interval == MINUTE:
            return prices.minutes(k * width, (k + 1) * width)
        opens = item.hours.opens(k * width, (k + 1) * width, interval)
        if not len(opens):
            return prices.minutes(0, 0)
        end_ms = item.hours.bar_close_ms(int(opens[-1]), interval)
        return aggregate(prices.minutes(int(opens[0]), end_ms), opens)

    def _computed_before(self, name: str, interval: Interval, open_ms: int, minute_ms: int) -> Row | None:
        """The bar that opened at open_ms as it stood when that minute began; adds to what was known a minute ago."""
        since_ms, row = open_ms, None
        known = self._running.get((name, interval))
        if known and known[0] == open_ms and known[1] <= minute_ms:
            _, since_ms, row = known
        if minute_ms - since_ms == MINUTE_MS:
            row = merged(row, self._row(name, since_ms))
        elif minute_ms > since_ms:
            rows = aggregate(self._prices[name].minutes(since_ms, minute_ms), np.array([open_ms], np.int64))
            row = merged(row, rows.at(0) if len(rows.time_ms) else None)
        self._running[name, interval] = (open_ms, minute_ms, row)
        return row

    def _row(self, name: str, minute_ms: int) -> Row | None:
        rows = self._block(name, minute_ms // (BLOCK_MINUTES * MINUTE_MS))
        at = int(np.searchsorted(rows.time_ms, minute_ms))
        return rows.at(at) if at < len(rows.time_ms) and rows.time_ms[at] == minute_ms else None

    def _computed_block(self, name: str, k: int) -> Rows:
        """A quarter of an hour at a time for what is live: as dear as a single minute."""
        width = BLOCK_MINUTES * MINUTE_MS
        return self._prices[name].minutes(k * width, (k + 1) * width)

    def _computed_trades(self, name: str, minute_ms: int) -> Trades:
        row = self._row(name, minute_ms)
        return self._prices[name].trades(minute_ms, row) if row else NO_TRADES

    def _computed_day(self, name: str, minute_ms: int) -> tuple[Row | None, int | None, int]:
        """As that minute begins: the running (or else last) trading day's bar, the close before it, the last trade."""
        item = self._by_name[name]
        open_ms = item.hours.bar_open_ms(minute_ms, DAY)
        day = None if open_ms is None else self._before(name, DAY, open_ms, minute_ms)
        earlier = self._days(name, minute_ms if open_ms is None else open_ms)
        if open_ms is None or (day is None and self._trades(name, minute_ms) is NO_TRADES):
            day, earlier = earlier.at(-1), earlier.part(0, len(earlier.time_ms) - 1)
        previous = int(earlier.close[-1]) if len(earlier.time_ms) else None
        return day, previous, self._last_trade_ms(item, minute_ms)

    def _last_trade_ms(self, item: Instrument, minute_ms: int) -> int:
        """The last one before that minute."""
        just_before = self._trades(item.name, minute_ms - MINUTE_MS)
        if just_before is not NO_TRADES:
            return just_before.time_ms[-1]
        last = self._last(item, MINUTE, 1, minute_ms)
        return self._trades(item.name, int(last.time_ms[-1])).time_ms[-1] if len(last.time_ms) else minute_ms

    def _computed_days(self, name: str, before_ms: int) -> Rows:
        """The last two days that opened before then; without the chunk of a whole year, which takes longer to make."""
        item = self._by_name[name]
        opens = item.hours.opens(before_ms - LOOK_BACK_DAYS * DAY_MS, before_ms, DAY)[-2:]
        if len(opens) < 2:
            return self._last(item, DAY, 2, before_ms)
        minutes = self._prices[name].minutes(int(opens[0]), item.hours.bar_close_ms(int(opens[-1]), DAY))
        days = aggregate(minutes, opens)
        return days if len(days.time_ms) == len(opens) else self._last(item, DAY, 2, before_ms)

    def _computed_first_open(self, name: str, interval: Interval) -> int:
        item = self._by_name[name]
        first = int(self._prices[name].minutes(item.first_ms, item.first_ms + 40 * DAY_MS).time_ms[0])
        return item.hours.bar_open_ms(first, interval) or first

    def _bars(self, item: Instrument, rows: Rows) -> Bars:
        opens, highs, lows, closes = (column * item.minmov / item.pricescale for column in rows[1:5])
        volume = rows.volume / item.volume_scale if item.has_volume else np.full(len(rows.time_ms), np.nan)
        return Bars(rows.time_ms, opens, highs, lows, closes, volume)

    def _bar(self, item: Instrument, time_ms: int, row: Row) -> Bar:
        price = self._prices[item.name].price
        volume = row[4] / item.volume_scale if item.has_volume else float("nan")
        return Bar(time_ms, price(row[0]), price(row[1]), price(row[2]), price(row[3]), volume)


def values(bar: Bar) -> tuple[float, float, float, float, float]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume


def _chunk_ms(interval: Interval) -> int:
    return min(CHUNK_BARS * interval.length_ms, LONGEST_CHUNK_MS)
