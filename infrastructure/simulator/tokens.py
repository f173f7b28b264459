"""The tokens of the simulated service: anonymous, paid, and signed ones that expire, as the home page gives out."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from infrastructure.simulator.options import ANONYMOUS_TOKEN, Options

LIFE_S = 4 * 3600


@dataclass(frozen=True, slots=True)
class Token:
    paid: bool
    expires_ms: int | None = None


def issue(now_ms: int, life_s: int = LIFE_S) -> str:
    """A JWT in shape only; nothing is signed with it."""
    claims = {"user_id": 1, "iat": now_ms // 1000, "exp": now_ms // 1000 + life_s, "plan": "simulated", "perm": ""}
    return ".".join((_part({"alg": "RS512", "kid": "sim", "typ": "JWT"}), _part(claims), _part("simulated")))


def read(token: str, options: Options) -> Token | None:
    """None for a bad one. An expired one is taken: then no data come, only heartbeats."""
    if token == ANONYMOUS_TOKEN:
        return Token(paid=False)
    if token in options.paid_tokens:
        return Token(paid=True)
    try:
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        return Token(paid=True, expires_ms=int(claims["exp"]) * 1000) if claims["plan"] == "simulated" else None
    except (ValueError, LookupError, TypeError):
        return None


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
