"""All that a capture says, played without waiting: symbols, last quotes, bars by their series. Used by `provider`."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path

from infrastructure.bars import Bar, Bars
from infrastructure.errors import Rejected
from infrastructure.replay.captures import read
from infrastructure.replay.playing import Player, moments
from infrastructure.tradingview.base import BarUpdate, Quote, QuoteUpdate, SymbolInfo
from infrastructure.tradingview.stream import Pair


@dataclass(frozen=True, slots=True)
class Holdings:
    """`server_ms` is the source's clock at the end of the recording."""

    infos: dict[str, SymbolInfo]
    quotes: dict[str, Quote]
    closed: dict[Pair, Bars]
    forming: dict[Pair, Bar]
    server_ms: int


def holdings(path: Path) -> Holdings:
    """Read once by each process, and again when the file has changed. Errors are those of `captures.read`."""
    try:
        now = path.stat()
    except OSError as error:
        raise Rejected(f"The recording {path} cannot be read: {error.strerror}.") from error
    return _played(path, now.st_mtime_ns, now.st_size)


@lru_cache(maxsize=1)
def _played(path: Path, changed_ns: int, size: int) -> Holdings:
    player = Player()
    quotes: dict[str, Quote] = {}
    bars: dict[Pair, dict[int, BarUpdate]] = {}
    for moment in moments(read(path)):
        for event in player.play(moment):
            match event:
                case QuoteUpdate(symbol=symbol, changes=changes):
                    quotes[symbol] = quotes.get(symbol, Quote(symbol)).merged(changes)
                case BarUpdate():
                    bars.setdefault((event.symbol, event.interval), {})[event.bar.time_ms] = event
    return Holdings(
        player.infos,
        quotes,
        {pair: _closed(updates) for pair, updates in bars.items()},
        {pair: newest.bar for pair, updates in bars.items() if not (newest := updates[max(updates)]).closed},
        player.server_ms,
    )


def _closed(updates: dict[int, BarUpdate]) -> Bars:
    return Bars.from_rows(astuple(updates[ms].bar) for ms in sorted(updates) if updates[ms].closed)
