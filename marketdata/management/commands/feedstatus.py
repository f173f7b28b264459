"""`manage.py feedstatus`: the state of the live feed in one line, and as an exit code for monitors."""

import sys
import time
from argparse import ArgumentParser
from typing import Any

import msgspec
from django.core.management.base import BaseCommand

from infrastructure.errors import InfrastructureError
from infrastructure.persistence import Cache
from infrastructure.times import from_ms
from marketdata.management.tables import show_json
from marketdata.services import feed_state
from marketdata.services.feed_state import FeedState, Health


class Command(BaseCommand):
    help = (
        "Shows the state of the live feed. Exit codes: 0 live or market closed; 1 connecting, reconnecting, stale or "
        "stopped; 2 refused, standby or absent; 3 Redis does not answer."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON document instead of a line")
        parser.add_argument(
            "--max-age",
            type=float,
            default=feed_state.MAX_AGE_S,
            metavar="SECONDS",
            help="an older report counts as absent (%(default)g)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        now_ms = time.time_ns() // 1_000_000
        try:
            state = feed_state.read(Cache.from_settings(), now_ms, options["max_age"])
        except InfrastructureError as error:
            state = FeedState("unknown", str(error))
        if options["json"]:
            show_json(self.stdout, {**msgspec.structs.asdict(state), "exit_code": int(state.health)})
        else:
            self.stdout.write(line(state, now_ms))
        if state.health != Health.GOOD:
            sys.exit(state.health)


def line(state: FeedState, now_ms: int) -> str:
    words = [state.label]
    if state.since_ms:
        words.append(f"since {from_ms(state.since_ms):%Y-%m-%d %H:%M:%S} UTC ({span(now_ms - state.since_ms)})")
    if state.source:
        words.append(f"from {state.source}: {state.symbols} symbols, {state.waiting_bars} closed bars not stored yet")
    return " ".join(words) + (f". {state.reason}" if state.reason else ".")


def span(ms: int) -> str:
    """In its largest unit."""
    seconds = max(ms, 0) // 1000
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
