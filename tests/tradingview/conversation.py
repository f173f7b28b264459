"""A request for bars in a session of its own, and the server's answers to it."""

from typing import Any

from infrastructure.errors import Malformed
from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.base import History
from infrastructure.tradingview.history import HistoryRequest
from tests.tradingview.talk import bars, completed, loading, new_session, resolved, sent

MINUTE = INTERVALS["1m"]
NOW = 1_700_000_040_000  # a full minute
CLOCK = {"timezone": "Etc/UTC", "session": "24x7"}


class Conversation:
    """A request, its session, and the name of the chart session that it drew."""

    def __init__(self, interval: Any = MINUTE, *, now_ms: int = NOW, **limits: Any) -> None:
        self.session = new_session()
        self.now_ms = now_ms
        self.request = HistoryRequest(self.session, "NASDAQ:AAPL", interval, **{"page_bars": 5000, **limits})
        self.request.ask(now_ms)
        self.sent = sent(self.session)
        self.chart = self.sent[0][1]

    def hear(self, *texts: str) -> list[History]:
        pages = []
        for message in self.session.receive("".join(texts), self.now_ms):
            assert not isinstance(message, Malformed)
            page = self.request.receive(message, self.now_ms)
            if page is not None:
                pages.append(page)
        return pages

    def answer(self, *rows: tuple[float, ...], **more: Any) -> list[History]:
        return self.hear(
            loading(self.chart), resolved(self.chart, **CLOCK), bars(self.chart, *rows), completed(self.chart, **more)
        )

    def ask(self) -> list[tuple[Any, ...]]:
        self.request.ask(self.now_ms)
        messages = sent(self.session)
        self.chart = messages[-1][1]
        return messages


def times(page: History) -> list[int]:
    return page.bars.time_ms.tolist()
