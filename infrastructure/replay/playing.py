"""What a capture says: records in → quotes, bars and refusals out, by the clocks of the recording. Pure; used by
`provider` and `stream`.

The recorded requests say what was asked for under which names of sessions; the recorded answers go through the same
session and stream machines as live ones. A capture without requests tells its quotes and symbols; its bars are left
out, because only a request says of which interval they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from infrastructure.errors import InfrastructureError, Malformed
from infrastructure.intervals import INTERVALS
from infrastructure.replay.lines import Record
from infrastructure.tradingview import frames
from infrastructure.tradingview.base import State, StreamEvent, SymbolInfo, Wanted, worst
from infrastructure.tradingview.chart import RESOLVE, SERIES
from infrastructure.tradingview.messages import Parameters, QuoteData, SeriesCompleted, SymbolResolved
from infrastructure.tradingview.session import ANONYMOUS, Session
from infrastructure.tradingview.stream import Pair, Stream

logger = logging.getLogger(__name__)

#: Bars are looked at once a second, as the live stream does, for so long after a record; nothing closes later.
TICK_S, LOOKS = 1.0, 600
_INTERVALS = {interval.wire: interval for interval in INTERVALS.values()}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something was recorded then, or (None) it is time to look whether a bar has closed."""

    at_s: float
    wall_ms: int
    record: Record | None = None


def moments(records: Iterable[Record]) -> Iterator[Moment]:
    before: Record | None = None
    look_s = 0.0
    for record in records:
        if before is None:
            look_s = record.at_s + TICK_S
        else:
            until_s = min(record.at_s, before.at_s + LOOKS * TICK_S)
            while look_s <= until_s:
                yield Moment(look_s, before.wall_ms + round((look_s - before.at_s) * 1000))
                look_s += TICK_S
            look_s = max(look_s, record.at_s)
        before = record
        yield Moment(record.at_s, record.wall_ms, record)


class Player:
    """`infos` is what was said of symbols so far, `server_ms` the source's clock when it was last heard."""

    def __init__(self) -> None:
        self.infos: dict[str, SymbolInfo] = {}
        self.server_ms = 0
        self._connections: dict[int, _Connection] = {}
        self._states: dict[int, tuple[State, str]] = {}  # of connections that are open, or are to be made again

    @property
    def state(self) -> tuple[State, str]:
        """That of the recorded stream, with the reason."""
        return worst(self._states.values()) if self._states else ("connecting", "")

    def play(self, moment: Moment) -> list[StreamEvent]:
        record = moment.record
        if record is None:
            return [event for one in self._connections.values() for event in one.passed(moment.wall_ms)]
        match record.kind:
            case "+":
                self._connections[record.connection] = _Connection(self.infos)
                self._states.setdefault(record.connection, ("connecting", ""))
            case "-":
                self._end(record.connection, record.text)
            case "!":
                logger.warning("%s records are missing at %.6f s of the recording", record.text, record.at_s)
            case ">":
                self._of(record).ask(record)
            case "<":
                return self._hear(record)
        return []

    def _of(self, record: Record) -> _Connection:
        return self._connections.setdefault(record.connection, _Connection(self.infos))

    def _hear(self, record: Record) -> list[StreamEvent]:
        connection = self._of(record)
        try:
            events = connection.hear(record.text, record.wall_ms)
        except InfrastructureError as error:  # it ended the recorded connection too
            self._end(record.connection, str(error))
            return []
        self.server_ms = connection.server_ms(record.wall_ms)
        if events:
            self._states[record.connection] = ("live", "")
        return events

    def _end(self, number: int, reason: str) -> None:
        self._connections.pop(number, None)
        self._states.pop(number, None)
        if reason:
            self._states[number] = ("reconnecting", reason)


class _Connection:
    """One recorded connection: its requests make the wish, under the names that the answers carry."""

    def __init__(self, infos: dict[str, SymbolInfo]) -> None:
        self._infos = infos
        self._session = _RecordedSession(self._learn)
        self._charts: dict[str, Pair] = {}
        self._specs: dict[str, str] = {}  # chart session → symbol
        self._asked = False
        self._now_ms = 0
        self._restart()

    def _restart(self) -> None:
        never_ms = 2**62  # it is the recorded client that gave up
        self._stream = Stream(self._session, set(), lambda: 0.0, quiet={}, answer_ms=never_ms, silence_ms=never_ms)
        self._wanted = Wanted(bars=frozenset(self._charts.values()))

    def server_ms(self, now_ms: int) -> int:
        return self._session.server_ms(now_ms)

    def passed(self, now_ms: int) -> list[StreamEvent]:
        return self._stream.passed(now_ms)

    def hear(self, text: str, now_ms: int) -> list[StreamEvent]:
        self._now_ms = now_ms
        return self._stream.receive(text, now_ms)

    def ask(self, record: Record) -> None:
        """What the client sent then."""
        self._now_ms = record.wall_ms
        try:
            for payload in frames.decode(record.text):
                if not payload.startswith(frames.HEARTBEAT):
                    message = json.loads(payload)
                    self._request(message["m"], *message["p"])
        except (Malformed, ValueError, KeyError, TypeError, RecursionError) as error:
            raise Malformed(f"Line {record.line} of the recording holds no request: {error}", record.text) from error

    def _request(self, name: str, *said: Any) -> None:
        match (name, *said):
            case ("quote_create_session", str(session)):
                self._asked = True
                self._session.names["qs_"] = session
            case ("quote_delete_session", str()):  # all is asked for again over the same connection
                self._restart()
            case ("quote_add_symbols", str(), *symbols):
                self._want(replace(self._wanted, quotes=self._wanted.quotes | set(symbols)))
            case ("quote_remove_symbols", str(), *symbols):
                self._want(replace(self._wanted, quotes=self._wanted.quotes - set(symbols)))
            case ("resolve_symbol", str(chart), str(resolve), str(spec)) if resolve == RESOLVE:
                self._asked = True
                self._specs[chart] = symbol_of(spec)
            case ("create_series", str(chart), str(series), str(), str(), str(wire), *_) if series == SERIES:
                if chart in self._specs and wire in _INTERVALS:
                    self._charts[chart] = (self._specs[chart], _INTERVALS[wire])
                    self._session.names["cs_"] = chart
                    self._want_charts()
            case ("chart_delete_session", str(chart)):
                self._specs.pop(chart, None)
                if self._charts.pop(chart, None):
                    self._want_charts()

    def _want_charts(self) -> None:
        self._want(replace(self._wanted, bars=frozenset(self._charts.values())))

    def _want(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._stream.want(wanted, self._now_ms)
        self._session.to_send()  # nobody is there

    def _learn(self, found: list[Parameters | Malformed]) -> None:
        """Before the stream looks at it."""
        for message in found:
            match message:
                case SymbolResolved(session=chart, facts=facts):
                    symbol = self._specs.get(chart) or facts.pro_name
                    if symbol:
                        self._infos[symbol] = facts.info(symbol)
                case SeriesCompleted(session=chart, update_mode=mode) if symbol := self._specs.get(chart):
                    if symbol in self._infos:
                        self._infos[symbol] = replace(self._infos[symbol], update_mode=mode)
                case QuoteData(session=session, quote=quote) if not self._asked and quote.n not in self._wanted.quotes:
                    self._session.names.setdefault("qs_", session)
                    self._want(replace(self._wanted, quotes=self._wanted.quotes | {quote.n}))


class _RecordedSession(Session):
    """Names its sessions as the recorded client did; `learn` sees each message first."""

    def __init__(self, learn: Any) -> None:
        self.names: dict[str, str] = {}
        self._learn = learn
        super().__init__(ANONYMOUS, lambda: 0.0)

    def new_name(self, prefix: str) -> str:
        return self.names.get(prefix, prefix)

    def receive(self, text: str, now_ms: int) -> list[Parameters | Malformed]:
        found = super().receive(text, now_ms)
        self._learn(found)
        return found


def symbol_of(spec: str) -> str:
    """`NASDAQ:AAPL`, or `={"symbol":"NASDAQ:AAPL",…}`."""
    return str(json.loads(spec[1:])["symbol"]) if spec.startswith("=") else spec
