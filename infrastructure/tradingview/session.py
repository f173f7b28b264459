"""One connection's protocol without the connection: text in → messages out, and what to send. Pure.

Used by `provider` and `websocket`, which own the socket and the clock. Heartbeats are answered here, the token is sent
here, the server's clock is kept here; chart and quote sessions (`chart`, `stream`) send through it.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

from infrastructure.errors import InfrastructureError, Malformed, Rejected, Throttled, Unavailable
from infrastructure.tradingview import frames, messages
from infrastructure.tradingview.messages import Hello, Parameters, ProtocolError, Unknown

ANONYMOUS = "unauthorized_user_token"  # the token of those who have none
NAME_LENGTH = 12
REASON_LIMIT = 200
REDACTED = "<token>"


class TokenRefused(Rejected):
    """Unless there is another one to get."""


class Session:
    """`random` gives floats in [0, 1): session names are drawn from it, as every client does."""

    def __init__(self, token: str, random: Callable[[], float]) -> None:
        self.unknown = 0  # messages that nobody here needs
        self._token = token
        self._random = random
        self._outgoing: list[str] = []
        self._ahead_ms = 0  # how far the server's clock is ahead of ours
        self.send("set_auth_token", token)
        self.send("set_locale", "en", "US")

    def new_name(self, prefix: str) -> str:
        letters = string.ascii_letters
        return prefix + "".join(letters[int(self._random() * len(letters))] for _ in range(NAME_LENGTH))

    def send(self, name: str, *parameters: Any) -> None:
        self._outgoing.append(messages.request(name, *parameters))

    def to_send(self) -> list[str]:
        """What is to be sent now, one websocket message each; asked again, only what is new."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def receive(self, text: str, now_ms: int) -> list[Parameters | Malformed]:
        """The messages of one websocket text. One that cannot be read stands among them as its error, the others count.

        Raises what ends the connection: Malformed where the framing lies; Rejected or Unavailable where the server says
        that it will close.
        """
        found: list[Parameters | Malformed] = []
        for payload in frames.decode(text):
            if payload.startswith(frames.HEARTBEAT):
                self._outgoing.append(frames.encode(payload))  # to the letter, at once
                continue
            try:
                message = messages.decode(payload)
            except Malformed as error:
                found.append(error)
                continue
            if message.t_ms:
                self._ahead_ms = int(message.t_ms) - now_ms
            if isinstance(message.p, Unknown):
                self.unknown += 1
            elif isinstance(message.p, ProtocolError):
                raise protocol_error(self._public(message.p.reason))
            elif not isinstance(message.p, Hello):
                found.append(message.p)
        return found

    def server_ms(self, now_ms: int) -> int:
        """Our time → the server's, as of its latest message that told the time (the hello, and those of charts)."""
        return now_ms + self._ahead_ms

    def _public(self, reason: Any) -> str:
        """The server's words, without the token in case it repeats what it was sent."""
        text = str(reason)[:REASON_LIMIT]
        return text if self._token == ANONYMOUS else text.replace(self._token, REDACTED)


def protocol_error(reason: str) -> InfrastructureError:
    """A person must act only where it is about the token; what else the server may say has passed with a reconnect."""
    if "token" in reason.replace(REDACTED, ""):
        return TokenRefused(f"TradingView refuses the TRADINGVIEW_AUTH_TOKEN: {reason}. It may have expired.")
    if "rate" in reason or "limit" in reason:
        return Throttled(f"TradingView wants fewer requests: {reason}.")
    return Unavailable(f"TradingView ended the connection: {reason or 'without a reason'}.")
