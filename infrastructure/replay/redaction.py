"""What a capture must not hold is taken out of a text: tokens, cookies, ids of sessions. Pure; used by `recorder`.

A token is known by its place (`set_auth_token`), and from then on wherever it is repeated; the server's id of a session
by its name. A text that may hold one and cannot be taken apart is withheld as a whole; it cannot be read either way.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import Any

from infrastructure.errors import Malformed
from infrastructure.tradingview import frames

TOKENS = 100  # tokens of the past are remembered; they change once or twice a day
MARKS = ('"set_auth_token"', '"session_id"')
WITHHELD = "<withheld: it may hold a secret>"


class Redactor:
    """`secrets` must not stand anywhere; empty ones are left out."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: deque[str] = deque(maxlen=TOKENS)
        for secret in secrets:
            self._learn(secret)

    def __call__(self, text: str) -> str:
        if not any(word in text for word in (*MARKS, *self._secrets)):
            return text
        try:
            return "".join(frames.encode(self._payload(payload)) for payload in frames.decode(text))
        except Malformed:
            return WITHHELD if any(mark in text for mark in MARKS) else self._without(text)

    def _payload(self, payload: str) -> str:
        if any(mark in payload for mark in MARKS):
            try:
                payload = json.dumps(self._message(json.loads(payload)), separators=(",", ":"), ensure_ascii=False)
            except (ValueError, RecursionError):
                return WITHHELD
        return self._without(payload)

    def _message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            return WITHHELD
        if message.get("m") == "set_auth_token":
            said = message.get("p")
            for token in said if isinstance(said, list) else [said]:
                self._learn(str(token))
            message["p"] = ["<token>"]
        if "session_id" in message:
            message["session_id"] = "<session>"
        return message

    def _learn(self, secret: str) -> None:
        for form in (secret, json.dumps(secret)[1:-1]):
            if form and form not in self._secrets:
                self._secrets.append(form)

    def _without(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        return text
