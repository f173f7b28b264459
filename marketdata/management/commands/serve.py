"""`manage.py serve`: answers HTTP and websockets on HOST:PORT with uvicorn or daphne; `manage.py up` runs it too."""

import asyncio
import contextlib
import errno
import socket
import sys
import warnings
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from infrastructure.errors import Rejected
from marketdata.live import process
from marketdata.live.protocol import MAX_MESSAGE_BYTES

BACKLOG = 4096  # a storm of reconnecting browsers overflows the usual 50 (daphne) or 2048
MESSAGE_BYTES = 2 * MAX_MESSAGE_BYTES  # what is a little too large is refused with a reason, not by the server
STOP_S = 5
NOT_STARTABLE = 2
LISTENING = "listening on "


class Command(BaseCommand):
    help = "Answers HTTP and websockets on HOST:PORT."
    requires_system_checks: list[str] = []  # `manage.py check` is for people; a restart must be quick

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--access-log", action="store_true", help="a line for every request")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            listening = listen(settings.HOST, settings.PORT)
        except Rejected as error:
            self.stderr.write(str(error))
            sys.exit(NOT_STARTABLE)
        # WhiteNoise reads files synchronously, which Django then does in a thread, and warns of: once is too much.
        warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
        self.stdout.write(f"{LISTENING}{settings.HOST}:{settings.PORT} with {settings.WEB_SERVER}")
        with contextlib.closing(listening):
            if settings.WEB_SERVER == "uvicorn":
                serve_with_uvicorn(listening, access_log=options["access_log"])
                return
        serve_with_daphne(settings.HOST, settings.PORT, access_log=options["access_log"])  # it opens a socket itself


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `Rejected` says why there can be none, and the way out."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Rejected(refusal(host, port, error)) from error


def refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use: stop what listens there, or choose another with PORT."
    if error.errno == errno.EACCES:
        return f"Port {port} is reserved for the administrator: choose one from 1024 on with PORT."
    return f"Cannot listen on {host}, port {port} ({error.strerror or error}): choose others with HOST and PORT."


def serve_with_uvicorn(listening: socket.socket, *, access_log: bool) -> None:
    import uvicorn

    from marketdata.live.uvicorn_protocol import FrameProtocol

    config = uvicorn.Config(
        "config.asgi:application",
        loop="uvloop",
        lifespan="off",
        ws=FrameProtocol,
        ws_max_size=MESSAGE_BYTES,
        ws_ping_interval=None,  # the hub's heartbeats ask whether a browser is there
        ws_per_message_deflate=settings.LIVE_DEFLATE,
        backlog=BACKLOG,
        proxy_headers=settings.BEHIND_PROXY,
        forwarded_allow_ips=settings.TRUSTED_PROXIES,
        server_header=False,
        access_log=access_log,
        log_config=None,  # settings.LOGGING holds for the server too
        log_level="info" if access_log else "warning",
        timeout_graceful_shutdown=STOP_S,
    )

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await process.close()  # browsers hear that this is a restart before their connections end
            await super().shutdown(sockets)

    Server(config).run(sockets=[listening])


def serve_with_daphne(host: str, port: int, *, access_log: bool) -> None:
    from channels.routing import get_default_application
    from daphne.access import AccessLogGenerator
    from daphne.server import Server
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    # The backlog of an endpoint that names none is 50: hundreds of browsers that reconnect at once would not get in.
    endpoint = f"tcp:port={port}:interface={host.replace(':', chr(92) + ':')}:backlog={BACKLOG}"
    server = Server(
        application=get_default_application(),
        endpoints=[endpoint],
        server_name="",
        action_logger=AccessLogGenerator(sys.stdout) if access_log else None,
        proxy_forwarded_address_header="X-Forwarded-For" if settings.BEHIND_PROXY else None,
        websocket_max_message_size=MESSAGE_BYTES,
        websocket_max_frame_size=MESSAGE_BYTES,
    )

    def say_goodbye() -> Deferred[None]:
        closing = asyncio.wait_for(process.close(), STOP_S)
        return Deferred.fromFuture(asyncio.ensure_future(closing, loop=asyncio.get_event_loop()))

    reactor.addSystemEventTrigger("before", "shutdown", say_goodbye)  # type: ignore[arg-type]  # its stubs are wrong
    server.run()
