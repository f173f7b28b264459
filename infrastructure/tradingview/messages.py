"""Payloads ↔ messages: what TradingView's server sends as typed values, what a client sends as frames.

Sections 6–10 of the protocol. Pure; used by `session`. Server messages carry their parameters by position; one may have
fewer or more of them than are named here.
"""

from __future__ import annotations

import json
from typing import Any, Literal, Union

import msgspec
from msgspec import Struct, field

from infrastructure.errors import Malformed
from infrastructure.tradingview import frames
from infrastructure.tradingview.payloads import QuoteValues, SeriesBars, SymbolFacts


class _Quote(Struct, frozen=True):
    n: str
    s: str = "ok"
    errmsg: Any = ""
    v: QuoteValues = QuoteValues()


class QuoteData(Struct, array_like=True, frozen=True):
    """`qsd`. The first one of a name is full, later ones hold what changed."""

    session: str
    quote: _Quote

    @property
    def name(self) -> str:
        """The string that was added, to the letter."""
        return self.quote.n

    @property
    def refusal(self) -> str:
        """Why there is no quote: `no_such_symbol`, `Permission denied`, ...; empty where there is one."""
        return "" if self.quote.s == "ok" else str(self.quote.errmsg or self.quote.s)


class QuoteCompleted(Struct, array_like=True, frozen=True):
    session: str
    name: str


class SeriesLoading(Struct, array_like=True, frozen=True):
    session: str
    series: str
    turnaround: str = ""


class SymbolResolved(Struct, array_like=True, frozen=True):
    session: str
    resolve: str
    facts: SymbolFacts


class SymbolError(Struct, array_like=True, frozen=True):
    session: str
    resolve: str
    reason: Any = ""
    more: Any = ""
    group: Any = ""  # of data, where `reason` is "permission denied"


class SeriesData(Struct, array_like=True, frozen=True):
    """`timescale_update` and `du`, which say the same: these bars are now so."""

    session: str
    objects: dict[str, SeriesBars]


class _Completion(Struct, frozen=True):
    data_completed: Any = None


class SeriesCompleted(Struct, array_like=True, frozen=True):
    session: str
    series: str
    update_mode: str = ""
    turnaround: str = ""
    facts: _Completion = _Completion()

    @property
    def ended(self) -> Literal["", "end", "limit"]:
        """Why there is nothing older, where the server says so."""
        said = self.facts.data_completed
        return said if said in ("end", "limit") else ""


class SeriesError(Struct, array_like=True, frozen=True):
    session: str
    series: str
    turnaround: str = ""
    reason: Any = ""


class CriticalError(Struct, array_like=True, frozen=True):
    """That chart or quote session is dead; the connection and its other sessions live on."""

    session: str
    reason: Any = ""


class ProtocolError(Struct, array_like=True, frozen=True):
    """The server closes the connection after it."""

    reason: Any = ""


class Hello(Struct, frozen=True):
    session_id: str


class Unknown(Struct, frozen=True):
    """A message that nobody here needs."""

    name: str


Parameters = (
    QuoteData
    | QuoteCompleted
    | SeriesLoading
    | SymbolResolved
    | SymbolError
    | SeriesData
    | SeriesCompleted
    | SeriesError
    | CriticalError
    | ProtocolError
    | Hello
    | Unknown
)


class Message(Struct, frozen=True):
    """`t_ms`: the server's clock, where the message tells it, else 0."""

    p: Parameters
    t_ms: float = 0


_NAMES: dict[str, type[Struct]] = {
    "qsd": QuoteData,
    "quote_completed": QuoteCompleted,
    "series_loading": SeriesLoading,
    "symbol_resolved": SymbolResolved,
    "symbol_error": SymbolError,
    "timescale_update": SeriesData,
    "du": SeriesData,
    "series_completed": SeriesCompleted,
    "series_error": SeriesError,
    "critical_error": CriticalError,
    "protocol_error": ProtocolError,
}
_ENVELOPES = tuple(
    msgspec.defstruct(name, [("p", parameters), ("t_ms", float, 0)], tag_field="m", tag=name, frozen=True)
    for name, parameters in _NAMES.items()
)
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[_ENVELOPES])  # noqa: UP007  (made at run time)


class _Other(Struct, frozen=True):
    m: str = ""
    session_id: str = ""
    timestamp: float = 0
    timestamp_ms: float = field(default=0, name="timestampMs")


_other_decoder = msgspec.json.Decoder(_Other)


def decode(payload: str) -> Message:
    """Malformed, with the payload as sample, where it is no JSON, no message, or one whose parameters are wrong."""
    try:
        message: Message = _decoder.decode(payload)
        return message
    except msgspec.ValidationError as error:
        return _decode_other(payload, error)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Malformed(f"TradingView sent what is no JSON: {error}", payload) from error


def _decode_other(payload: str, error: msgspec.ValidationError) -> Message:
    """The hello, which has no `m`; a message of a name not listed; else the error of the first try."""
    try:
        other = _other_decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        other = _Other()
    if other.m and other.m not in _NAMES:
        return Message(Unknown(other.m))
    if other.session_id and not other.m:
        return Message(Hello(other.session_id), other.timestamp_ms or other.timestamp * 1000)
    raise Malformed(f"TradingView sent a message of an unknown form: {error}", payload) from error


def request(name: str, *parameters: Any) -> str:
    """A client's message as a frame. ASCII escapes make the length the same in every unit."""
    return frames.encode(json.dumps({"m": name, "p": parameters}, separators=(",", ":")))


def symbol_spec(symbol: str) -> str:
    """Adjusted for splits, regular session: what every stored series holds."""
    return "=" + json.dumps({"symbol": symbol, "adjustment": "splits", "session": "regular"}, separators=(",", ":"))
