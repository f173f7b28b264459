"""Whose websockets get in at all: pages of this site with their session, programs without any. Used by `config.asgi`.

A browser always says which page opened a websocket, and sends the cookies of this site even if it was another site's
page. So a foreign Origin is refused at the handshake, and where there is none, cookies are not looked at.
"""

from collections.abc import Awaitable
from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack
from django.conf import settings


async def refuse(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """At the handshake."""
    await receive()
    await send({"type": "websocket.close"})


class OwnPagesAndPrograms:
    """Only who brings its cookie has a `session` in the scope; whose it is, the consumer asks."""

    def __init__(self, application: Any) -> None:
        self._known = AllowedHostsOriginValidator(SessionMiddlewareStack(application))
        self._strangers = AllowedHostsOriginValidator(application)
        self._programs = application
        self._session = f"{settings.SESSION_COOKIE_NAME}=".encode()

    def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        """Handed on, not awaited here: one frame less for as long as each connection lasts."""
        headers = scope["headers"]
        origins = [value for name, value in headers if name == b"origin"]
        if not origins:
            return self._programs(scope, receive, send)
        if not all(map(_can_be_read, origins)):
            return refuse(scope, receive, send)
        has_session = any(name == b"cookie" and self._session in value for name, value in headers)
        return (self._known if has_session else self._strangers)(scope, receive, send)


def _can_be_read(origin: bytes) -> bool:
    """Channels' validator raises where it cannot."""
    try:
        urlsplit(origin.decode("latin1"))
    except ValueError:
        return False
    return True
