"""An open connection and what is spoken over it: the token is checked, what is to be sent is sent, texts come in.

Used by `provider` and `link`; reads the clock for them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, Self

from infrastructure.errors import InfrastructureError, Rejected, Unavailable
from infrastructure.times import from_ms, to_ms
from infrastructure.tradingview.config import TradingViewConfig, expires_ms
from infrastructure.tradingview.connection import Connection
from infrastructure.tradingview.session import Session

#: After a failed send: how long, and how many texts, to look for the reason.
LAST_WORDS_S = 0.1
LAST_WORDS = 100


#: What happens on a connection: it was opened (+), a text came in (<) or went out (>), it ended (-), with the reason.
Happening = Literal["+", "<", ">", "-"]
#: Listens to a connection, on the thread that carries it: must not block.
Tap = Callable[[Happening, str], None]


def unheard(happening: Happening, text: str) -> None:
    """Nobody listens."""


def now_ms() -> int:
    return to_ms(datetime.now(UTC))


class Line:
    def __init__(self, connection: Connection, session: Session, timeout_s: float, tap: Tap = unheard) -> None:
        self.session = session
        self._connection = connection
        self._timeout_s = timeout_s
        self._tap = tap
        tap("+", "")

    @classmethod
    def open(cls, config: TradingViewConfig, tap: Tap = unheard) -> Self:
        refuse_expired(config.auth_token)
        session = Session(config.auth_token, random.random)
        return cls(Connection.open(config), session, config.timeout_s, tap)

    def receive(self, timeout_s: float) -> str | None:
        """The next text, None where none came in time; sends first what is to be sent."""
        self.flush()
        return self._hear(timeout_s)

    def flush(self) -> None:
        try:
            for text in self.session.to_send():
                self._tap(">", text)
                self._connection.send(text, self._timeout_s)
        except Unavailable:
            self._hear_last_words()
            raise

    def close(self) -> None:
        self._connection.close()
        self._tap("-", "")

    def abort(self) -> None:
        """From another thread: wakes the one that waits here, with an error."""
        self._connection.abort()

    def _hear(self, timeout_s: float) -> str | None:
        text = self._connection.receive(timeout_s)
        if text is not None:
            self._tap("<", text)
        return text

    def _hear_last_words(self) -> None:
        """A server that closes says why before it does, and we may be sending just then. Raises what it said."""
        for _ in range(LAST_WORDS):
            try:
                text = self._hear(LAST_WORDS_S)
            except InfrastructureError:
                return
            if text is None:
                return
            self.session.receive(text, now_ms())


def refuse_expired(token: str) -> None:
    """Rejected for a token whose own text says that it has ended: the server would send heartbeats and no data."""
    end_ms = expires_ms(token)
    if end_ms is not None and end_ms <= now_ms():
        raise Rejected(f"The TRADINGVIEW_AUTH_TOKEN expired at {from_ms(end_ms):%Y-%m-%d %H:%M} UTC.")
