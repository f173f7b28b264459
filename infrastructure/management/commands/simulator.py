"""`manage.py simulator`: a TradingView on loopback, in the foreground until SIGTERM or Ctrl-C."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from infrastructure.errors import Unavailable
from infrastructure.simulator import SimulatorServer
from infrastructure.simulator.options import Options


class Command(BaseCommand):
    help = "Run a TradingView on loopback: websocket and HTTP on one port, with simulated markets."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        usual = Options()
        parser.add_argument("--port", type=int, default=settings.PORTS["simulator"], help="0 picks a free one")
        parser.add_argument("--host", default="127.0.0.1", help="anybody who reaches it may switch faults on")
        parser.add_argument("--seed", type=int, default=settings.SIMULATOR_SEED, help="another seed, other markets")
        parser.add_argument(
            "--speed", type=float, default=settings.SIMULATOR_SPEED, help="simulated seconds in a second"
        )
        parser.add_argument("--heartbeat", type=float, default=usual.heartbeat_s, help="seconds between heartbeats")
        parser.add_argument("--echo-timeout", type=float, default=usual.echo_timeout_s, help="seconds without an echo")
        parser.add_argument("--answer-delay", type=float, default=usual.answer_delay_s, help="seconds before history")
        parser.add_argument(
            "--depth", type=int, default=usual.anonymous_depth, help="intraday bars of anonymous clients"
        )
        parser.add_argument(
            "--symbols", type=int, default=0, help="so many synthetic instruments more: TEST:SYM0001, …"
        )
        parser.add_argument("--any-origin", action="store_true", help="accept every Origin header, or none")
        parser.add_argument("--no-batching", action="store_true", help="each frame in a message of its own")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 <= options["port"] <= 65535:
            raise CommandError("--port must be a number between 0 and 65535.")
        if not options["speed"] > 0:
            raise CommandError("--speed must be greater than 0.")
        server = SimulatorServer(
            options["port"],
            options["seed"],
            options["speed"],
            host=options["host"],
            synthetic_symbols=options["symbols"],
            heartbeat_s=options["heartbeat"],
            echo_timeout_s=options["echo_timeout"],
            answer_delay_s=options["answer_delay"],
            anonymous_depth=options["depth"],
            check_origin=not options["any_origin"],
            batching=not options["no_batching"],
        )
        try:
            server.run(lambda: self.stdout.write(f"simulator {server.websocket_url} {server.http_url}"))
        except Unavailable as error:
            raise CommandError(str(error), returncode=2) from error
