"""Divides a wish among connections: who carries which symbol; what has a place keeps it. Pure; used by `websocket`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from infrastructure.tradingview.base import Wanted

#: TradingView answers 429 to an address with more than about seven (section 11); one is left to the provider.
MAX_CONNECTIONS = 6


def assigned(wanted: Wanted, before: Mapping[str, int], capacity: int) -> dict[str, int]:
    """Symbol → number of its connection. A symbol weighs as much as its chart sessions, at least 1.

    Each connection carries at most `capacity`; what is more than all of them hold is spread evenly over them.
    """
    weights = dict.fromkeys(sorted(wanted.quotes), 0)
    weights.update(Counter(symbol for symbol, _ in wanted.bars))
    weights = {symbol: max(weight, 1) for symbol, weight in weights.items()}
    capacity = max(capacity, -(-sum(weights.values()) // MAX_CONNECTIONS), max(weights.values(), default=0))
    loads = [0] * MAX_CONNECTIONS
    places: dict[str, int] = {}
    # Those that have a place come first, so that they keep it.
    for symbol in sorted(weights, key=lambda symbol: (symbol not in before, symbol)):
        place = before.get(symbol, 0)
        if loads[place] + weights[symbol] > capacity:
            fitting = (n for n in range(MAX_CONNECTIONS) if loads[n] + weights[symbol] <= capacity)
            place = next(fitting, loads.index(min(loads)))
        places[symbol] = place
        loads[place] += weights[symbol]
    return places


def part(wanted: Wanted, places: Mapping[str, int], number: int) -> Wanted:
    """What one connection carries of a wish."""
    return Wanted(
        frozenset(symbol for symbol in wanted.quotes if places[symbol] == number),
        frozenset(pair for pair in wanted.bars if places[pair[0]] == number),
    )
