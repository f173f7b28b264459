"""Who may open a live connection, how many, how often they may speak, and what they may watch. Used by the consumer."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Set
from dataclasses import dataclass, field
from typing import Any

from infrastructure.intervals import INTERVALS
from marketdata.live.errors import Code, Refusal
from marketdata.live.protocol import MAX_ITEM_LENGTH, Refused, split_topic


def address_of(scope: dict[str, Any]) -> str:
    """The client's address as the server saw it; behind a proxy the server must be told to trust its headers."""
    client = scope.get("client")
    return str(client[0]) if client else ""


@dataclass(slots=True)
class Places:
    """Counts the open connections of each address, or of each account, in this process; who has none is forgotten."""

    limit: int
    code: Code
    whose: str  # continues "There are 50 connections"
    open: Counter[str] = field(default_factory=Counter)

    def enter(self, who: str) -> None:
        if self.open[who] >= self.limit:
            raise Refusal(self.code, f"There are {self.limit} connections {self.whose} already.")
        self.open[who] += 1

    def leave(self, who: str) -> None:
        self.open[who] -= 1
        if self.open[who] <= 0:
            del self.open[who]


def places_of_addresses(limit: int) -> Places:
    return Places(limit, Code.TOO_MANY_CONNECTIONS, "from this address")


def places_of_accounts(limit: int) -> Places:
    return Places(limit, Code.TOO_MANY_OF_ACCOUNT, "of this account")


class Allowance:
    """So many messages a second on average, `burst` of them at once."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_s, self._burst, self._clock = per_s, burst, clock
        self._left, self._at = float(burst), clock()

    def take(self) -> None:
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._per_s, self._burst)
        self._at = now
        if self._left < 1:
            raise Refusal(Code.TOO_MANY_MESSAGES, f"More than {self._per_s:g} messages a second.")
        self._left -= 1


@dataclass(frozen=True, slots=True)
class Granted:
    quotes: list[str]
    bars: list[str]
    refused: list[Refused]


def grant(
    quotes: Iterable[str], bars: Iterable[str], known: Set[str] | None, held: Collection[str], limit: int
) -> Granted:
    """Which of the wished topics may be watched by one who holds `held`; `known` is None where nobody can say."""
    granted = Granted([], [], [])
    room = limit - len(held)
    wishes = [(item, granted.quotes, False) for item in dict.fromkeys(quotes)]
    wishes += [(item, granted.bars, True) for item in dict.fromkeys(bars)]
    for item, accepted, is_bar in wishes:
        refusal = None if item in held else _refusal(item, is_bar, known, room, limit)
        if refusal is not None:
            granted.refused.append(Refused(item[:MAX_ITEM_LENGTH], *refusal))
            continue
        accepted.append(item)
        room -= item not in held
    return granted


def _refusal(item: str, is_bar: bool, known: Set[str] | None, room: int, limit: int) -> tuple[int, str] | None:
    symbol, interval = split_topic(item) if is_bar else (item, "")
    if is_bar and interval not in INTERVALS:
        return Code.UNKNOWN_INTERVAL, f"Bars are named SYMBOL@INTERVAL; intervals are {', '.join(INTERVALS)}."
    if known is None:
        return Code.UNCHECKED, "The list of symbols cannot be read at the moment; ask again."
    if symbol not in known:
        return Code.UNKNOWN_SYMBOL, "This platform does not have the symbol."
    if room <= 0:
        return Code.TOO_MANY_ITEMS, f"One connection may watch {limit} items."
    return None
