"""Whose websockets get in at all: pages of this site with their session, programs without any. Used by `config.asgi`.

A browser always says which page opened a websocket, and sends the cookies of this site even if it was another site's
page. So a foreign Origin is refused at the handshake, and where there is none, cookies are not looked at.
"""

from collections.abc import Awaitable
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.security.websocket import AllowedHostsOriginValidator


class OwnPagesAndPrograms:
    def __init__(self, application: Any) -> None:
        with_session = AuthMiddlewareStack(application)
        self._pages, self._programs = AllowedHostsOriginValidator(with_session), with_session

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        """Handed on, not awaited here: one frame less for as long as each connection lasts."""
        headers = scope["headers"]
        if any(name == b"origin" for name, _ in headers):
            return self._pages(scope, receive, send)
        without = [(name, value) for name, value in headers if name != b"cookie"]
        return self._programs({**scope, "headers": without}, receive, send)
