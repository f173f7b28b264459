"""What the texts of a websocket mean, in the platform's own types."""

from pathlib import Path
from typing import Any

from infrastructure.bars import Bars
from infrastructure.replay import captures as captures_of_files
from infrastructure.tradingview import frames, messages
from infrastructure.tradingview.messages import QuoteData, SeriesData, SymbolResolved


def read(*texts: str) -> list[Any]:
    """What the texts say, in order; symbols and bars in the platform's own types, heartbeats as text."""
    return [meaning(payload) for text in texts for payload in frames.decode(text)]


def meaning(payload: str) -> Any:
    if payload.startswith(frames.HEARTBEAT):
        return payload
    said = messages.decode(payload).p
    if isinstance(said, SymbolResolved):
        return said.session, said.resolve, said.facts.info("NASDAQ:AAPL", "streaming")
    if isinstance(said, SeriesData):
        return said.session, {
            name: (part.turnaround, list(part.bars()), part.close_ms) for name, part in said.objects.items()
        }
    if isinstance(said, QuoteData):
        return said.session, said.name, said.refusal, said.quote.v.changes()
    return said


def rows(*of: tuple[float, ...]) -> list[Any]:
    return list(Bars.from_rows(of))


def texts_of(path: Path) -> list[str]:
    """As the replay reads them."""
    return [record.text for record in captures_of_files.read(path)]
