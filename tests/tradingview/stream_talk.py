"""A stream without a socket, for tests of what it asks and what it says."""

from typing import Any

from infrastructure.tradingview.base import StreamEvent, Wanted
from infrastructure.tradingview.stream import Stream
from tests.tradingview.talk import bars, completed, loading, new_session, resolved, say, sent

T = 1_700_000_040_000
SILENCE_MS = 60_000


class Talk:
    """A stream on a new connection, and the server's side of it."""

    def __init__(
        self, wanted: Wanted, at: int = T, refused: set[Any] | None = None, quiet: dict[str, int] | None = None
    ) -> None:
        self.session = new_session()
        self.refused = set() if refused is None else refused
        self.quiet = {} if quiet is None else quiet
        self.stream = Stream(
            self.session, self.refused, lambda: 0.5, quiet=self.quiet, answer_ms=20_000, silence_ms=SILENCE_MS
        )
        self.stream.want(wanted, at)
        self.sent = sent(self.session)
        self.charts: dict[tuple[str, str], str] = {}
        self._note(self.sent)

    def _note(self, messages: list[tuple[Any, ...]]) -> None:
        for message in messages:
            if message[0] == "quote_create_session":
                self.quotes = message[1]
            if message[0] == "resolve_symbol":
                symbol = message[3].split('"')[3]
            if message[0] == "create_series":
                self.charts[symbol, message[5]] = message[1]

    def want(self, wanted: Wanted, at: int = T) -> list[tuple[Any, ...]]:
        self.stream.want(wanted, at)
        return self.said()

    def said(self) -> list[tuple[Any, ...]]:
        messages = sent(self.session)
        self._note(messages)
        return messages

    def hear(self, *texts: str, at: int = T) -> list[StreamEvent]:
        return self.stream.receive("".join(texts), at)

    def quote(self, symbol: str, at: int = T, **values: Any) -> list[StreamEvent]:
        return self.hear(say("qsd", self.quotes, {"n": symbol, "s": "ok", "v": values}), at=at)

    def history(self, symbol: str, *rows: tuple[float, ...], at: int = T, **facts: Any) -> list[StreamEvent]:
        chart = self.charts[symbol, "1"]
        return self.hear(loading(chart), resolved(chart, **facts), bars(chart, *rows), completed(chart), at=at)
