import base64
import json
from typing import Any

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.tradingview import TradingViewConfig
from infrastructure.tradingview.config import expires_ms
from infrastructure.tradingview.session import ANONYMOUS


def token(claims: Any) -> str:
    parts = ({"alg": "RS512"}, claims, "signature")
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


def test_the_settings_are_taken_over() -> None:
    config = TradingViewConfig.from_settings()
    assert {name: getattr(config, name) for name in settings.TRADINGVIEW} == settings.TRADINGVIEW
    assert set(settings.TRADINGVIEW) == set(TradingViewConfig.__dataclass_fields__)


def test_secrets_are_not_shown() -> None:
    config = TradingViewConfig("ws://h/", "http://h", "http://h", "http://h", "a-token", "a-cookie")
    assert "a-token" not in repr(config)
    assert "a-cookie" not in repr(config)


def test_a_token_tells_when_it_ends() -> None:
    assert expires_ms(token({"user_id": 1, "exp": 1_700_000_000})) == 1_700_000_000_000


@pytest.mark.parametrize("text", [ANONYMOUS, "", "a.b.c", "..", token({}), token([]), token({"exp": "soon"})])
def test_a_token_that_does_not_tell_never_ends(text: str) -> None:
    assert expires_ms(text) is None


@given(st.text())
def test_any_text_may_be_a_token(text: str) -> None:
    assert expires_ms(f"x.{text}.x") is None
