"""Where live connections arrive; used by `config.asgi`."""

from typing import Any

from django.urls import URLPattern, path, re_path

from marketdata.live.consumers import LiveConsumer


async def nowhere(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The handshake is refused."""
    await receive()
    await send({"type": "websocket.close"})


websocket_urlpatterns: list[URLPattern] = [path("ws/v1/", LiveConsumer.as_asgi()), re_path("", nowhere)]  # type: ignore[arg-type]  # ASGI
