"""Whose websockets get in at all: pages of this site with their session, programs without any. Used by `config.asgi`.

A browser always says which page opened a websocket, and sends the cookies of this site even if it was another site's
page. So a foreign Origin is refused at the handshake, and where there is none, cookies are not looked at.
"""

from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.security.websocket import AllowedHostsOriginValidator


class OwnPagesAndPrograms:
    def __init__(self, application: Any) -> None:
        with_session = AuthMiddlewareStack(application)
        self._pages, self._programs = AllowedHostsOriginValidator(with_session), with_session

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        headers = scope["headers"]
        if any(name == b"origin" for name, _ in headers):
            await self._pages(scope, receive, send)
        else:
            without = [(name, value) for name, value in headers if name != b"cookie"]
            await self._programs({**scope, "headers": without}, receive, send)
