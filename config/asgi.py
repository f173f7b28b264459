"""HTTP to Django, websockets to Channels; the Origin of every websocket is checked."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
http = get_asgi_application()

from marketdata.live.origins import OwnPagesAndPrograms  # noqa: E402  Django must be set up first
from marketdata.live.routing import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": OwnPagesAndPrograms(URLRouter(websocket_urlpatterns)),
    }
)
