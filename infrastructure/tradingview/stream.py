"""What one streaming connection carries: a wish and text in → quotes, bars and refusals out, and what to send. Pure.

Driven by a link of `websocket`, one `Stream` for each connection it makes. Loss policy: none here; a duplicate or
repeated message gives a duplicate event.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields

from infrastructure.backoff import Backoff
from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.intervals import Interval
from infrastructure.tradingview.base import Quote, QuoteUpdate, StreamEvent, SymbolRefused, Wanted, delay_of
from infrastructure.tradingview.live_series import LiveSeries
from infrastructure.tradingview.messages import CriticalError, Parameters, QuoteData
from infrastructure.tradingview.payloads import QUOTE_FIELDS
from infrastructure.tradingview.session import Session

logger = logging.getLogger(__name__)

Pair = tuple[str, Interval]
#: Chart sessions being opened at one time: the server limits their rate (section 11 of the protocol).
OPENING = 20
#: When a chart session that died, or never answered, is opened again; and how long after the last time everything is.
REOPEN = Backoff(first_s=5, factor=2, ceiling_s=300, jitter=0.2)

_UNKNOWN_QUOTE = {field.name: None for field in fields(Quote) if field.name != "symbol"}


@dataclass(slots=True)
class _Told:
    """What the source said last of a symbol's market."""

    session: str | None = None
    update_mode: str = ""
    server_ms: int = 0


@dataclass(slots=True)
class _Retry:
    tries: int = 0
    due_ms: int = 0


class Stream:
    """`refused` outlives the connection: what is in it is not asked for, until it is no longer wanted."""

    def __init__(
        self,
        session: Session,
        refused: set[str | Pair],
        random: Callable[[], float],
        *,
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
        self._quotes_name = ""
        self._told: dict[str, _Told | None] = {}  # of every symbol asked for; None = no answer yet
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
        """No data for too long though there should be some: an answer since the connection was made (`since_ms`), or
        trades because a market is open. Heartbeats are no data: an expired token brings nothing else."""
        if not self._told and not self._wanted:
            return False
        if now_ms - (self.last_data_ms or since_ms) < self._silence_ms:
            return False
        symbols = {*self._told, *(symbol for symbol, _ in self._wanted)}
        return self.last_data_ms is None or any(self._is_open(symbol, now_ms) for symbol in symbols)

    def _events(self, message: Parameters, now_ms: int) -> list[StreamEvent]:
        name = getattr(message, "session", None)
        if isinstance(message, QuoteData) and name == self._quotes_name:
            return self._quote(message, now_ms)
        if isinstance(message, CriticalError) and name == self._quotes_name:
            raise Unavailable(f"TradingView gave up the quotes: {message.reason}.")
        pair = self._by_name.get(name) if isinstance(name, str) else None
        if pair is None:
            return []
        try:
            events = self._series[pair].receive(message, now_ms)
        except Rejected as error:
            return self._refuse(pair, pair[0], str(error), now_ms)
        except Unavailable as error:
            logger.warning("%s", error)
            self._give_up(pair, now_ms)
            return []
        if events is None:
            return []
        self._note_data(now_ms)
        if self._series[pair].answered and self._opened_ms.pop(pair, None) is not None:
            self._retries.pop(pair, None)
            self._open_series(now_ms)
        return list(events)

    def _quote(self, message: QuoteData, now_ms: int) -> list[StreamEvent]:
        symbol = message.name
        if symbol not in self._told:  # was taken off the wish meanwhile
            return []
        if message.refusal:
            return self._refuse(symbol, symbol, message.refusal, now_ms)
        self._note_data(now_ms)
        changes = message.quote.v.changes()
        told = self._told[symbol]
        if told is None:
            told = self._told[symbol] = _Told()
            changes = _UNKNOWN_QUOTE | changes
        if "session" in changes:
            told.session, told.server_ms = changes["session"], self._session.server_ms(now_ms)
        told.update_mode = changes.get("update_mode") or told.update_mode
        return [QuoteUpdate(symbol, changes, now_ms)]

    def _refuse(self, item: str | Pair, symbol: str, reason: str, now_ms: int) -> list[StreamEvent]:
        self._note_data(now_ms)  # a refusal is an answer
        self._refused.add(item)
        if isinstance(item, str):
            self._told.pop(item, None)
            self._session.send("quote_remove_symbols", self._quotes_name, item)
            return [SymbolRefused(symbol, reason)]
        self._drop(item)
        self._wanted -= {item}
        self._open_series(now_ms)
        return [SymbolRefused(symbol, reason, item[1])]

    def _want_quotes(self, symbols: frozenset[str] | set[str]) -> None:
        added, removed = sorted(symbols - self._told.keys()), sorted(self._told.keys() - symbols)
        if added and not self._quotes_name:
            self._quotes_name = self._session.new_name("qs_")
            self._session.send("quote_create_session", self._quotes_name)
            self._session.send("quote_set_fields", self._quotes_name, *QUOTE_FIELDS)
        if added:
            self._session.send("quote_add_symbols", self._quotes_name, *added)
            self._told.update(dict.fromkeys(added))
        if removed:
            self._session.send("quote_remove_symbols", self._quotes_name, *removed)
            for symbol in removed:
                del self._told[symbol]

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
        symbols = {*self._told}
        if self._quotes_name:
            self._session.send("quote_delete_session", self._quotes_name)
            self._quotes_name = ""
            self._told.clear()
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

    def _is_open(self, symbol: str, now_ms: int) -> bool:
        """By the source's last word; by the trading hours where it has said nothing, or nothing since they opened."""
        told = self._told.get(symbol)
        if told and told.session == "market":
            return True
        charts = [series.chart for (name, _), series in self._series.items() if name == symbol]
        hours = next((chart.hours for chart in charts if chart.hours), None)
        if hours is None:
            return False
        mode = told.update_mode if told else charts[0].update_mode
        # Open for as long as the silence lasts: at the bell there has been none yet.
        end_ms = self._session.server_ms(now_ms) - delay_of(mode) * 1000
        start_ms = end_ms - self._silence_ms
        if not (hours.is_open(end_ms) and hours.is_open(start_ms)):
            return False
        if told is None or told.session is None:
            return True
        opens_ms = hours.next_open_ms(told.server_ms)
        return opens_ms is not None and opens_ms <= start_ms
