"""Where live connections arrive; used by `config.asgi`."""

from django.urls import URLPattern, path, re_path

from marketdata.live.consumers import LiveConsumer
from marketdata.live.origins import refuse

websocket_urlpatterns: list[URLPattern] = [path("ws/v1/", LiveConsumer.as_asgi()), re_path("", refuse)]  # type: ignore[arg-type]  # ASGI
