"""Divides a wish among connections: who carries which quotes and bars; what has a place keeps it. Pure; used by
`websocket`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from infrastructure.intervals import Interval
from infrastructure.tradingview.base import Wanted

#: TradingView answers 429 to an address with more than about seven (section 11); one is left to the provider.
MAX_CONNECTIONS = 6

#: The quotes of a symbol, or its bars of an interval.
Item = str | tuple[str, Interval]


def assigned(wanted: Wanted, before: Mapping[Item, int], capacity: int) -> dict[Item, int]:
    """The number of each one's connection; bars that fit nowhere have none.

    A pair of symbol and interval is a chart session, of which no connection carries more than `capacity`: the source
    limits them. All quotes of a connection are one session, so they always fit; a symbol of which only quotes are
    wanted counts as one where there is a choice, so that they are spread as well.
    """
    items: set[Item] = {*wanted.quotes}
    items |= wanted.bars
    places = {item: before[item] for item in items if item in before}
    division = _Division(wanted, places, capacity)
    missing: defaultdict[str, list[Item]] = defaultdict(list)
    for item in sorted(items - places.keys(), key=str):
        missing[_symbol(item)].append(item)
    for symbol in sorted(missing):
        division.place(symbol, missing[symbol])
    return places


def part(wanted: Wanted, places: Mapping[Item, int], number: int) -> Wanted:
    """What one connection carries of a wish."""
    quotes = frozenset(symbol for symbol in wanted.quotes if places.get(symbol) == number)
    bars = frozenset(pair for pair in wanted.bars if places.get(pair) == number)
    symbols = quotes | {symbol for symbol, _ in bars}
    return Wanted(quotes, bars, {symbol: hours for symbol, hours in wanted.hours.items() if symbol in symbols})


class _Division:
    """How full the connections are while `places` grows."""

    def __init__(self, wanted: Wanted, places: dict[Item, int], capacity: int) -> None:
        self._places = places
        self._capacity = capacity
        self._rooms = [capacity] * MAX_CONNECTIONS  # for chart sessions
        self._loads = [0] * MAX_CONNECTIONS  # with the symbols of which only quotes are wanted
        self._charted = {symbol for symbol, _ in wanted.bars}
        self._homes: dict[str, int] = {}  # where something of a symbol is
        for item, number in places.items():
            self._count(item, number)

    def place(self, symbol: str, items: list[Item]) -> None:
        """Together where they fit, else as many as fit where most room is, and so on while there is any."""
        home = self._home(symbol, [item for item in items if not isinstance(item, str)])
        for item in items:
            if not isinstance(item, str):
                if not self._rooms[home]:
                    home = self._widest()
                if not self._rooms[home]:
                    continue  # it is left out
            self._places[item] = home
            self._count(item, home)

    def _home(self, symbol: str, pairs: list[Item]) -> int:
        known = self._homes.get(symbol)
        if known is not None and len(pairs) <= self._rooms[known]:
            return known
        weight = max(len(pairs), 1)
        for number, load in enumerate(self._loads):
            if load + weight <= self._capacity:
                return number
        return self._widest() if pairs else self._loads.index(min(self._loads))

    def _widest(self) -> int:
        return self._rooms.index(max(self._rooms))

    def _count(self, item: Item, number: int) -> None:
        symbol = _symbol(item)
        self._homes.setdefault(symbol, number)
        if not isinstance(item, str):
            self._rooms[number] -= 1
            self._loads[number] += 1
        elif symbol not in self._charted:
            self._loads[number] += 1


def _symbol(item: Item) -> str:
    return item if isinstance(item, str) else item[0]
