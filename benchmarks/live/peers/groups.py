"""The same job as Channels' documentation does it: `python -m benchmarks.live.peers.groups LAYER PORT REDIS_URL`.

A group for each symbol, `group_send` for each tick, `send_json` in the consumer; on the server and options that the
platform uses. LAYER is `core` or `pubsub` of channels_redis.
"""

import sys
from typing import Any

import django
import uvicorn
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import re_path

LAYERS = {"core": "channels_redis.core.RedisChannelLayer", "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer"}


class TickConsumer(AsyncJsonWebsocketConsumer):
    groups_joined: tuple[str, ...] = ()

    async def receive_json(self, content: Any, **_: Any) -> None:
        self.groups_joined = tuple(name.replace(":", ".") for name in content["quotes"])
        for group in self.groups_joined:
            await self.channel_layer.group_add(group, self.channel_name)

    async def disconnect(self, code: int) -> None:
        for group in self.groups_joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def tick(self, event: dict[str, Any]) -> None:
        await self.send_json(event["data"])


def main() -> None:
    layer, port, url = sys.argv[1:]
    # redis-py's own bound of 100 connections is too small for many consumers at once.
    host = {"address": url, "max_connections": 10_000} if layer == "core" else url
    settings.configure(
        SECRET_KEY="k" * 50, CHANNEL_LAYERS={"default": {"BACKEND": LAYERS[layer], "CONFIG": {"hosts": [host]}}}
    )
    django.setup()
    application = ProtocolTypeRouter({"websocket": URLRouter([re_path("", TickConsumer.as_asgi())])})
    uvicorn.run(
        application, host="127.0.0.1", port=int(port), loop="uvloop", ws="websockets-sansio", lifespan="off",
        ws_per_message_deflate=False, backlog=4096, log_level="warning", access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
