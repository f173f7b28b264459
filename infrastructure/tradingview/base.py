"""The two ports every market data source implements, and the values that cross them. Pure.

`IDataProvider` is asked and answers (search, symbol information, quotes, history); `IStreamProvider` is started and
then calls back (quotes, forming and closed bars, its own state). Symbols are `EXCHANGE:TICKER` texts; times are UTC
milliseconds; prices are in the symbol's currency as the source sends them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Rejected
from infrastructure.intervals import Interval
from infrastructure.tradingview.hours import TradingHours


@dataclass(frozen=True, slots=True)
class SymbolInfo:
    """What the source says of one symbol (`symbol_resolved`, section 8 of the protocol)."""

    symbol: str  # as asked
    full_name: str  # the venue the prices come from: BATS:AAPL for an anonymous NASDAQ:AAPL
    pro_name: str
    exchange: str  # display name of that venue
    listed_exchange: str
    description: str
    type: str
    currency: str
    timezone: str
    session: str  # trading hours: "0930-1600", "24x7", several spans, per-day forms, overnight
    holidays: tuple[str, ...] = ()  # YYYYMMDD, exchange's dates
    corrections: str = ""  # "0930-1300:20190703,20191129;..." early closes and the like
    price_scale: int = 100
    min_move: int = 1
    fractional: bool = False
    has_intraday: bool = True
    has_volume: bool = True
    aliases: tuple[str, ...] = ()  # older names of the same instrument
    update_mode: str = ""

    @property
    def delay_s(self) -> int:
        return delay_of(self.update_mode)


@dataclass(frozen=True, slots=True)
class SymbolMatch:
    """One row of a symbol search."""

    symbol: str
    description: str
    type: str
    exchange: str
    currency: str
    country: str


@dataclass(frozen=True, slots=True)
class Quote:
    """The merged state of one symbol. None = the source never said, or says it is now unknown."""

    symbol: str
    last: float | None = None
    last_ms: int | None = None  # time of the last trade
    change: float | None = None
    change_percent: float | None = None
    bid: float | None = None
    ask: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    volume: float | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    previous_close: float | None = None
    session: str | None = None  # market, out_of_session, pre_market, post_market; others as text
    update_mode: str | None = None
    venue: str | None = None  # original_name: where the prices come from
    currency: str | None = None
    description: str | None = None

    @property
    def delay_s(self) -> int:
        return delay_of(self.update_mode or "")

    def merged(self, changes: Mapping[str, Any]) -> Self:
        """A new quote with the given fields; a key that is absent is unchanged, one that is None is now unknown."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class History:
    """One answer, or one page of it: closed bars, ascending, and the forming bar where the page reaches the present.

    `ended` says why the source has nothing older: "end" (the first bar there is), "limit" (the plan's depth),
    "" (it may have more). `server_ms` is the source's own clock as it answered, None where it does not say.
    """

    info: SymbolInfo
    interval: Interval
    bars: Bars
    forming: Bar | None = None
    ended: Literal["", "end", "limit"] = ""
    server_ms: int | None = None


@dataclass(frozen=True, slots=True)
class QuoteUpdate:
    """`changes` holds Quote field names; the first one of a symbol after (re)connecting is full."""

    symbol: str
    changes: Mapping[str, Any]
    received_ms: int


@dataclass(frozen=True, slots=True)
class BarUpdate:
    """The newest bar of a watched (symbol, interval). `closed`: it will not change any more. `server_ms` is the
    source's own clock, None where it does not say."""

    symbol: str
    interval: Interval
    bar: Bar
    closed: bool
    close_ms: int  # when it closes, or closed
    received_ms: int
    server_ms: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SeriesBegun:
    """The bars of a (symbol, interval) begin, for the first time or again: every one that the source has from the one
    that opened at `from_ms` follows. What it had since a bar that came before the break may be missing."""

    symbol: str
    interval: Interval
    from_ms: int


@dataclass(frozen=True, slots=True)
class SymbolRefused:
    """The source will not stream this symbol (unknown, no permission); it is not asked for again by itself.

    Where `interval` is given, only these bars of it: its quotes may flow. Where the reason is want of room, they follow
    by themselves when there is some.
    """

    symbol: str
    reason: str
    interval: Interval | None = None


State = Literal["connecting", "live", "stale", "reconnecting", "stopped", "refused"]
WORST_FIRST: tuple[State, ...] = ("refused", "reconnecting", "stale", "stopped", "connecting", "live")


@dataclass(frozen=True, slots=True)
class StreamState:
    """How a stream is; `stale`: no data of a market though it is open. It has connected again for that, or will."""

    state: State
    reason: str


StreamEvent = QuoteUpdate | SeriesBegun | BarUpdate | SymbolRefused | StreamState


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a stream should carry: quotes of symbols, and bars of (symbol, interval) pairs. `hours` are those that the
    platform knows of them: they tell whether a market should say something where the source does not. Not hashable."""

    quotes: frozenset[str] = frozenset()
    bars: frozenset[tuple[str, Interval]] = field(default_factory=frozenset)
    hours: Mapping[str, TradingHours] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not self.quotes and not self.bars


class IDataProvider(ABC):
    """Pull. Each call has its own deadline; errors are Unavailable, Rejected or Malformed. Use as a context manager."""

    @abstractmethod
    def search(self, text: str, *, type: str = "", exchange: str = "", limit: int = 50) -> list[SymbolMatch]: ...

    @abstractmethod
    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        """Present quotes; a symbol the source does not know is absent from the answer."""

    @abstractmethod
    def resolve(self, symbol: str) -> SymbolInfo:
        """Rejected where there is no such symbol."""

    @abstractmethod
    def pages(
        self,
        symbol: str,
        interval: Interval,
        *,
        bars: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Iterator[History]:
        """Closed bars, newest page first, so that a caller can store each page before the next is asked for.

        At most `bars` bars in all, those with start_ms <= time < end_ms. Pages never overlap. Ends when the range is
        covered or the source has no older bar (`ended` of the last page). Close the iterator to stop early.
        """

    def history(
        self,
        symbol: str,
        interval: Interval,
        *,
        bars: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> History:
        """The same in one piece, for ranges that fit in memory."""
        pages = list(self.pages(symbol, interval, bars=bars, start_ms=start_ms, end_ms=end_ms))
        newest, oldest = pages[0], pages[-1]
        return History(
            newest.info,
            interval,
            Bars.concat([page.bars for page in reversed(pages)]),
            newest.forming,
            oldest.ended,
            newest.server_ms,
        )

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class IStreamProvider(ABC):
    """Push. `start` returns at once; `sink` is called from the provider's own thread(s), one call at a time, and must
    not block for long. `want` may be called at any time from any thread and replaces the wish as a whole."""

    @abstractmethod
    def start(self, sink: Callable[[StreamEvent], None]) -> None: ...

    @abstractmethod
    def want(self, wanted: Wanted) -> None: ...

    def clock_ms(self, now_ms: int) -> int:
        """The moment that the stream is at: ours, unless it is played from a recording."""
        return now_ms

    @abstractmethod
    def close(self) -> None:
        """Stop, within a few seconds; no call of `sink` happens after it returns."""


def worst(states: Iterable[tuple[State, str]]) -> tuple[State, str]:
    """What a stream is whose connections are these; at least one, each with its reason."""
    return min(states, key=lambda said: WORST_FIRST.index(said[0]))


def refuse_impossible(symbol: str, bars: int | None, start_ms: int | None, end_ms: int | None) -> None:
    """Rejected where `pages` is asked for what nobody can have."""
    if bars is not None and bars < 1:
        raise Rejected(f"{bars} bars of {symbol} cannot be asked for.")
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise Rejected(f"The range of {symbol} ends before it starts.")


def delay_of(update_mode: str) -> int:
    """Seconds of delay in an update mode: `delayed_streaming_900` is 900, `streaming` 0."""
    tail = update_mode.rpartition("_")[2]
    return int(tail) if tail.isdecimal() else 0
