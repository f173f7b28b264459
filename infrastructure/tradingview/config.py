"""The settings of the TradingView adapters as one frozen value, and what a token says about itself."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.conf import settings

from infrastructure.tradingview.session import ANONYMOUS


@dataclass(frozen=True, slots=True)
class TradingViewConfig:
    """`docs/configuration.md` explains each; the secrets never stand in a repr, a log or an error."""

    websocket_url: str
    search_url: str
    scanner_url: str
    origin: str
    auth_token: str = field(default=ANONYMOUS, repr=False)
    session_cookie: str = field(default="", repr=False)
    site_url: str = ""  # where a session cookie gets its token; empty: nowhere
    timeout_s: float = 20.0
    pause_s: float = 1.0
    page_bars: int = 5000
    symbols_per_connection: int = 200
    silence_s: float = 60.0

    @classmethod
    def from_settings(cls) -> TradingViewConfig:
        values: dict[str, Any] = settings.TRADINGVIEW
        return cls(**values)


class _Claims(msgspec.Struct):
    exp: float | None = None


def expires_ms(token: str) -> int | None:
    """When a token (a JWT, section 5 of the protocol) ends, read without its key; None where it does not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        end = msgspec.json.decode(claims, type=_Claims).exp
    except (binascii.Error, ValueError):  # msgspec's errors are ValueErrors
        return None
    return None if end is None else int(end * 1000)
