"""Where live connections arrive; used by `config.asgi`."""

from django.urls import URLPattern, path

from marketdata.live.consumers import LiveConsumer

websocket_urlpatterns: list[URLPattern] = [path("ws/v1/", LiveConsumer.as_asgi())]
