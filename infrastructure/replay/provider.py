"""A recording when asked: its symbols, last quotes and bars. Sends nothing anywhere.

Made by `marketdata.providers.get_provider` where `MARKETDATA_SOURCE` is `replay`. It knows the recording as a whole,
whatever a stream has played of it; "now" is the end of the recording.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Literal, Self

from infrastructure.bars import Bars
from infrastructure.errors import Rejected
from infrastructure.intervals import Interval
from infrastructure.replay.config import ReplayConfig
from infrastructure.replay.holdings import Holdings, holdings
from infrastructure.tradingview.base import History, IDataProvider, Quote, SymbolInfo, SymbolMatch, refuse_impossible


class ReplayProvider(IDataProvider):
    """Rejected for what the recording does not hold; Malformed, with the line, where it is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def from_settings(cls) -> Self:
        return cls(ReplayConfig.from_settings().path)

    def search(self, text: str, *, type: str = "", exchange: str = "", limit: int = 50) -> list[SymbolMatch]:
        words = text.upper().split()
        found = [
            SymbolMatch(info.symbol, info.description, info.type, info.listed_exchange, info.currency, "")
            for _, info in sorted(self._held.infos.items())
            if all(word in f"{info.symbol} {info.description}".upper() for word in words)
            and type in ("", info.type)
            and exchange.upper() in ("", info.symbol.partition(":")[0], info.listed_exchange.upper())
        ]
        return found[:limit]

    def quotes(self, symbols: Sequence[str]) -> dict[str, Quote]:
        held = self._held.quotes
        return {symbol: held[symbol] for symbol in symbols if symbol in held}

    def resolve(self, symbol: str) -> SymbolInfo:
        try:
            return self._held.infos[symbol]
        except KeyError:
            raise Rejected(f"The recording {self._path.name} does not say what {symbol} is.") from None

    def pages(
        self,
        symbol: str,
        interval: Interval,
        *,
        bars: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Iterator[History]:
        """One page."""
        refuse_impossible(symbol, bars, start_ms, end_ms)
        held, pair = self._held, (symbol, interval)
        if pair not in held.closed:
            raise Rejected(f"The recording {self._path.name} holds no {interval} bars of {symbol}.")
        found = held.closed[pair].between(start_ms, end_ms)
        found = found if bars is None else found[max(len(found) - bars, 0) :]
        forming = held.forming.get(pair)
        if forming and not len(Bars.from_rows([astuple(forming)]).between(start_ms, end_ms)):
            forming = None
        before_ms = int(found.time_ms[0]) if len(found) else end_ms if start_ms is None else start_ms
        older = len(held.closed[pair].between(None, before_ms))
        ended: Literal["", "limit"] = "" if older else "limit"  # the source may well have more
        return iter([History(self.resolve(symbol), interval, found, forming, ended, held.server_ms)])

    def close(self) -> None:
        """Nothing is open."""

    @property
    def _held(self) -> Holdings:
        return holdings(self._path)
