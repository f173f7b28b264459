"""What one streaming connection carries: a wish and text in → quotes, bars and refusals out, and what to send. Pure.

Driven by a link of `websocket`, one `Stream` for each connection it makes. Loss policy: none here; a duplicate or
repeated message gives a duplicate event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from infrastructure.backoff import Backoff
from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.intervals import Interval
from infrastructure.tradingview.base import Quote, QuoteUpdate, StreamEvent, SymbolRefused, Wanted
from infrastructure.tradingview.hours import TradingHours
from infrastructure.tradingview.live_series import LiveSeries
from infrastructure.tradingview.messages import CriticalError, Parameters, QuoteData
from infrastructure.tradingview.payloads import QUOTE_FIELDS
from infrastructure.tradingview.session import Session
from infrastructure.tradingview.silence import Markets, exchange_of

logger = logging.getLogger(__name__)

Pair = tuple[str, Interval]
#: Chart sessions being opened at one time: the server limits their rate (section 11 of the protocol).
OPENING = 20
#: When a chart session that died, or never answered, is opened again; and how long after the last time everything is.
REOPEN = Backoff(first_s=5, factor=2, ceiling_s=300, jitter=0.2)

_UNKNOWN_QUOTE = {field.name: None for field in fields(Quote) if field.name != "symbol"}


@dataclass(slots=True)
class _Retry:
    tries: int = 0
    due_ms: int = 0


class Stream:
    """`refused` outlives the connection: what is in it is not asked for, until it is no longer wanted. So does `quiet`:
    see `Markets`."""

    def __init__(
        self,
        session: Session,
        refused: set[str | Pair],
        random: Callable[[], float],
        *,
        quiet: dict[str, int],
        answer_ms: int,
        silence_ms: int,
    ) -> None:
        self.first_data_ms: int | None = None
        self.last_data_ms: int | None = None
        self._session = session
        self._refused = refused
        self._random = random
        self._answer_ms = answer_ms
        self._silence_ms = silence_ms
        self._markets = Markets(quiet, silence_ms)
        self._hours: Mapping[str, TradingHours] = {}
        self._quotes_name = ""
        self._answered: dict[str, bool] = {}  # of every symbol whose quotes were asked for
        self._wanted: frozenset[Pair] = frozenset()
        self._series: dict[Pair, LiveSeries] = {}
        self._by_name: dict[str, Pair] = {}  # of chart sessions
        self._opened_ms: dict[Pair, int] = {}  # without an answer yet
        self._retries: dict[Pair, _Retry] = {}
        self._spoilt = False  # a message that could not be read is lost, and nobody knows whose it was
        self._renewal = _Retry()

    def want(self, wanted: Wanted, now_ms: int) -> None:
        self._refused &= {*wanted.quotes, *wanted.bars}
        self._want_quotes(wanted.quotes - self._refused)
        self._wanted = wanted.bars - self._refused
        for pair in self._series.keys() - self._wanted:
            self._drop(pair)
        for pair in self._retries.keys() - self._wanted:
            del self._retries[pair]
        self._hours = wanted.hours
        self._keep_markets(now_ms)
        self._open_series(now_ms)

    def receive(self, text: str, now_ms: int) -> list[StreamEvent]:
        """Raises what ends the connection."""
        events: list[StreamEvent] = []
        for message in self._session.receive(text, now_ms):
            try:
                if isinstance(message, Malformed):
                    raise message
                events += self._events(message, now_ms)
            except Malformed as error:  # one message lost, of a connection that is otherwise well
                logger.warning("%s Left out: %.200s", error, error.sample)
                self._spoilt = True
                self._renew_if_due(now_ms)  # at once: no bar must close without its last state
        return events

    def tick(self, now_ms: int) -> list[StreamEvent]:
        """To be called about once a second: bars whose time has passed, sessions to open again."""
        for pair in [pair for pair, since in self._opened_ms.items() if now_ms - since > self._answer_ms]:
            logger.warning("%s: no answer for its %s bars; asking again later", *pair)
            self._give_up(pair, now_ms)
        self._renew_if_due(now_ms)
        self._open_series(now_ms)
        return self.passed(now_ms)

    def passed(self, now_ms: int) -> list[StreamEvent]:
        """The newest bars as closed, once their time has passed."""
        return [event for series in self._series.values() for event in series.tick(now_ms)]

    def is_silent(self, now_ms: int, since_ms: int) -> bool:
        """Whether the connection should be made anew: no answer for too long since it was made (`since_ms`), or no data
        of a market that is open. Heartbeats are no data: an expired token brings nothing else."""
        if not self._answered and not self._wanted:
            return False
        if self.last_data_ms is None:
            return now_ms - since_ms >= self._silence_ms
        return any(self._markets.is_reason(market) for market in self._silent(now_ms))

    def silence(self, now_ms: int) -> str:
        """Why the stream is stale, in a sentence; empty where it is not."""
        lasted = f"{self._silence_ms / 1000:g} s"
        if self.last_data_ms is None:
            return f"No answer for {lasted}."
        exchanges = sorted({exchange_of(symbol) for market in self._silent(now_ms) for symbol in market})
        if not exchanges:
            return ""
        are = "it is" if len(exchanges) == 1 else "they are"
        return f"No data of {', '.join(exchanges)} for {lasted} though {are} open."

    def note_silence(self, now_ms: int) -> None:
        """The connection is made anew for what is silent now."""
        if self.last_data_ms is not None:
            self._markets.note(self._silent(now_ms), now_ms)

    def _silent(self, now_ms: int) -> list[frozenset[str]]:
        return self._markets.silent(now_ms, self._session.server_ms(now_ms))

    def _keep_markets(self, now_ms: int) -> None:
        self._markets.keep(self._answered.keys(), {symbol for symbol, _ in self._wanted}, self._hours, now_ms)

    def _events(self, message: Parameters, now_ms: int) -> list[StreamEvent]:
        name = getattr(message, "session", None)
        if isinstance(message, QuoteData) and name == self._quotes_name:
            return self._quote(message, now_ms)
        if isinstance(message, CriticalError) and name == self._quotes_name:
            raise Unavailable(f"TradingView gave up the quotes: {message.reason}.")
        pair = self._by_name.get(name) if isinstance(name, str) else None
        if pair is None:
            return []
        series = self._series[pair]
        was_answered = series.answered
        try:
            events = series.receive(message, now_ms)
        except Rejected as error:
            return self._refuse(pair, pair[0], str(error), now_ms)
        except Unavailable as error:
            logger.warning("%s", error)
            self._give_up(pair, now_ms)
            return []
        if events is None:
            return []
        self._markets.charted(pair[0], series.chart.hours, series.chart.update_mode)
        self._markets.heard(pair[0], now_ms, was_answered)
        self._note_data(now_ms)
        if series.answered and self._opened_ms.pop(pair, None) is not None:
            self._retries.pop(pair, None)
            self._open_series(now_ms)
        return list(events)

    def _quote(self, message: QuoteData, now_ms: int) -> list[StreamEvent]:
        symbol = message.name
        answered = self._answered.get(symbol)
        if answered is None:  # was taken off the wish meanwhile
            return []
        if message.refusal:
            return self._refuse(symbol, symbol, message.refusal, now_ms)
        self._note_data(now_ms)
        changes = message.quote.v.changes()
        if not answered:
            self._answered[symbol] = True
            changes = _UNKNOWN_QUOTE | changes
        self._markets.quoted(symbol, changes, self._session.server_ms(now_ms))
        self._markets.heard(symbol, now_ms, answered)
        return [QuoteUpdate(symbol, changes, now_ms)]

    def _refuse(self, item: str | Pair, symbol: str, reason: str, now_ms: int) -> list[StreamEvent]:
        self._note_data(now_ms)  # a refusal is an answer
        self._refused.add(item)
        if isinstance(item, str):
            self._answered.pop(item, None)
            self._keep_markets(now_ms)
            self._session.send("quote_remove_symbols", self._quotes_name, item)
            return [SymbolRefused(symbol, reason)]
        self._drop(item)
        self._wanted -= {item}
        self._keep_markets(now_ms)
        self._open_series(now_ms)
        return [SymbolRefused(symbol, reason, item[1])]

    def _want_quotes(self, symbols: frozenset[str] | set[str]) -> None:
        added, removed = sorted(symbols - self._answered.keys()), sorted(self._answered.keys() - symbols)
        if added and not self._quotes_name:
            self._quotes_name = self._session.new_name("qs_")
            self._session.send("quote_create_session", self._quotes_name)
            self._session.send("quote_set_fields", self._quotes_name, *QUOTE_FIELDS)
        if added:
            self._session.send("quote_add_symbols", self._quotes_name, *added)
            self._answered.update(dict.fromkeys(added, False))
        if removed:
            self._session.send("quote_remove_symbols", self._quotes_name, *removed)
            for symbol in removed:
                del self._answered[symbol]

    def _open_series(self, now_ms: int) -> None:
        """At most so many at a time; the others follow as these are answered."""
        for pair in sorted(self._wanted - self._series.keys(), key=str):
            if len(self._opened_ms) >= OPENING:
                return
            if pair in self._retries and now_ms < self._retries[pair].due_ms:
                continue
            series = self._series[pair] = LiveSeries(self._session, *pair)
            self._by_name[series.chart.name] = pair
            self._opened_ms[pair] = now_ms
            series.open()

    def _give_up(self, pair: Pair, now_ms: int) -> None:
        """For now."""
        self._drop(pair)
        self._put_off(self._retries.setdefault(pair, _Retry()), now_ms)

    def _put_off(self, retry: _Retry, now_ms: int) -> None:
        retry.due_ms = now_ms + int(REOPEN.delay_s(retry.tries, self._random) * 1000)
        retry.tries += 1

    def _renew_if_due(self, now_ms: int) -> None:
        """Everything is asked for again over the same connection, so that no value stays wrong."""
        if not self._spoilt or now_ms < self._renewal.due_ms:
            return
        self._spoilt = False
        self._put_off(self._renewal, now_ms)
        for pair in tuple(self._series):
            self._drop(pair)
        symbols = {*self._answered}
        if self._quotes_name:
            self._session.send("quote_delete_session", self._quotes_name)
            self._quotes_name = ""
            self._answered.clear()
        self._want_quotes(symbols)
        self._open_series(now_ms)

    def _drop(self, pair: Pair) -> None:
        chart = self._series.pop(pair).chart
        chart.close()
        del self._by_name[chart.name]
        self._opened_ms.pop(pair, None)

    def _note_data(self, now_ms: int) -> None:
        self.last_data_ms = now_ms
        if self.first_data_ms is None:
            self.first_data_ms = now_ms
