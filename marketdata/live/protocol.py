"""The browser protocol, version 1 (`docs/live-protocol.md`): texts of clients to operations, and quotes, bars and
messages to JSON. Pure; used by the feed (quotes and bars, encoded once), the hub and the consumer."""

import struct
from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from infrastructure.bars import Bar
from infrastructure.intervals import Interval
from infrastructure.tradingview.base import Quote
from marketdata.live.errors import Code, Refusal
from marketdata.services.feed_report import Feed

PROTOCOL = 1
MAX_MESSAGE_BYTES = 64 * 1024
MAX_ITEM_LENGTH = 80
MAX_REASON_LENGTH = 200

#: A number that every JSON reader takes exactly: it is sent back.
RequestId = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)] | str | None


class Position(msgspec.Struct, frozen=True):
    """A place in the log of closed bars; offsets are in order within an epoch only."""

    epoch: str
    offset: str


# --- what clients send ----------------------------------------------------------------------------------------------


class Request(msgspec.Struct, tag_field="op", frozen=True):
    """Unknown fields are ignored, so that a newer client can talk to an older server."""

    id: RequestId = None
    quotes: list[str] = []
    bars: list[str] = []


class Subscribe(Request, tag="subscribe", frozen=True):
    since: Position | None = None


class Unsubscribe(Request, tag="unsubscribe", frozen=True):
    pass


class Reset(Request, tag="reset", frozen=True):
    since: Position | None = None


class Pong(msgspec.Struct, tag_field="op", tag="pong", frozen=True):
    n: int = 0


class Auth(msgspec.Struct, tag_field="op", tag="auth", frozen=True):
    """One of the two."""

    ticket: str = ""
    key: str = ""


Operation = Subscribe | Unsubscribe | Reset | Pong | Auth
_operation = msgspec.json.Decoder(Operation)


def parse(text: str) -> Operation:
    """Refusal with NOT_JSON or NOT_UNDERSTOOD, whatever the text holds."""
    try:
        return _operation.decode(text)
    except msgspec.ValidationError as error:
        raise Refusal(Code.NOT_UNDERSTOOD, _sentence(error)) from None
    except RecursionError:
        raise Refusal(Code.NOT_UNDERSTOOD, "The message is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise Refusal(Code.NOT_JSON, _sentence(error)) from None


def _sentence(error: Exception) -> str:
    """The decoder repeats what it was given: no more of it than a person reads."""
    text = str(error)
    return f"{text}." if len(text) <= MAX_REASON_LENGTH else f"{text[:MAX_REASON_LENGTH]}…"


# --- what servers send ----------------------------------------------------------------------------------------------


class QuoteMessage(msgspec.Struct):
    """Q: the whole state of one symbol; null = unknown. `seq` grows by symbol within an epoch, 0 = from the store."""

    s: str
    seq: int
    last: float | None
    last_ms: int | None
    ch: float | None
    chp: float | None
    bid: float | None
    ask: float | None
    bid_size: float | None
    ask_size: float | None
    vol: float | None
    open: float | None
    high: float | None
    low: float | None
    prev: float | None
    session: str | None
    mode: str | None
    delay_s: int
    venue: str | None
    currency: str | None
    description: str | None
    ms: int


class BarMessage(msgspec.Struct):
    """B: the newest state of one bar; `t` is its open, `v` is null where the instrument has no volume."""

    s: str
    i: str
    seq: int
    t: int
    o: float
    h: float
    l: float  # noqa: E741  o h l c are the names on every chart
    c: float
    v: float | None
    closed: bool
    close_ms: int


class Limits(msgspec.Struct, frozen=True):
    symbols: int
    message_bytes: int
    messages_per_s: float
    connections_per_address: int
    connections_per_account: int


class Hello(msgspec.Struct, tag_field="type", tag="hello"):
    protocol: int
    epoch: str
    server_ms: int
    heartbeat_s: float
    flush_ms: int
    simulated: bool
    limits: Limits
    feed: Feed
    log: Position | UnsetType = UNSET


class Refused(msgspec.Struct, frozen=True):
    item: str
    code: int
    reason: str


class Subscribed(msgspec.Struct, tag_field="type", tag="subscribed"):
    id: RequestId
    quotes: list[str]
    bars: list[str]
    refused: list[Refused]
    recovered: bool | UnsetType = UNSET


class Status(msgspec.Struct, tag_field="type", tag="status"):
    epoch: str
    feed: Feed


class Ping(msgspec.Struct, tag_field="type", tag="ping"):
    n: int
    log: Position | UnsetType = UNSET


class Error(msgspec.Struct, tag_field="type", tag="error", omit_defaults=True):
    code: int
    message: str
    id: RequestId = None


class Bye(msgspec.Struct, tag_field="type", tag="bye"):
    code: int
    reason: str
    reconnect: bool


Message = Hello | Subscribed | Status | Ping | Error | Bye
_encoder = msgspec.json.Encoder()


def encode(message: Message | Feed) -> str:
    return _encoder.encode(message).decode()


def values(type: str, quotes: Iterable[str], bars: Iterable[str], more: str = "") -> str:
    """A `snapshot` or an `update` around quotes and bars that are already JSON; `more` holds further fields, each after
    a comma."""
    return f'{{"type":"{type}","quotes":[{",".join(quotes)}],"bars":[{",".join(bars)}]{more}}}'


def encode_quote(quote: Quote, seq: int, updated_ms: int) -> bytes:
    """JSON of Q; a float that is no number becomes null."""
    return _encoder.encode(
        QuoteMessage(
            quote.symbol, seq, quote.last, quote.last_ms, quote.change, quote.change_percent,
            quote.bid, quote.ask, quote.bid_size, quote.ask_size, quote.volume,
            quote.open, quote.high, quote.low, quote.previous_close,
            quote.session, quote.update_mode, quote.delay_s, quote.venue, quote.currency, quote.description,
            updated_ms,
        )
    )  # fmt: skip


def encode_bar(symbol: str, interval: Interval, seq: int, bar: Bar, closed: bool, close_ms: int) -> bytes:
    """JSON of B; a volume of NaN becomes null."""
    return _encoder.encode(
        BarMessage(
            symbol, interval.name, seq,
            bar.time_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, closed, close_ms,
        )
    )  # fmt: skip


def bar_mark(bar: Bar) -> str:
    """`<open time>:<digest of its values>`: two bars of a topic with one mark are the same bar."""
    values = struct.pack("<5d", bar.open, bar.high, bar.low, bar.close, bar.volume)
    return f"{bar.time_ms}:{blake2b(values, digest_size=8).hexdigest()}"


_bar = msgspec.json.Decoder(BarMessage)
_feed = msgspec.json.Decoder(Feed)


def bar_time_ms(text: str | bytes) -> int:
    return _bar.decode(text).t


def decode_feed(text: str | bytes) -> Feed:
    return _feed.decode(text)


# --- topics ---------------------------------------------------------------------------------------------------------


def bar_topic(symbol: str, interval: str) -> str:
    return f"{symbol}@{interval}"


def split_topic(topic: str) -> tuple[str, str]:
    """(symbol, interval) of a topic of bars; the interval is "" where it names none."""
    symbol, _, interval = topic.rpartition("@")
    return (symbol, interval) if symbol else (topic, "")


def sendable(symbol: str) -> bool:
    """Whether a symbol can be a topic: no separator of the blocks, nothing invisible, not too long."""
    return 0 < len(symbol) <= MAX_ITEM_LENGTH and symbol.isprintable() and not set(symbol) & {"|", "@", "\n"}
