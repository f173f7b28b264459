"""`manage.py runfeed`: streams the wanted symbols from the source to the store, Redis and the browsers. It can record
what the source says, or play such a recording in place of the source."""

import signal
import threading
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from infrastructure.persistence import Database
from infrastructure.persistence.live import LiveCache
from infrastructure.replay import Recorder, ReplayConfig, ReplayProvider, ReplayStreamProvider
from marketdata.live.feed import FeedProcess
from marketdata.providers import IDataProvider, IStreamProvider, get_provider, get_stream_provider

MEBIBYTE = 2**20


class Command(BaseCommand):
    help = "Streams live data. Any number may run: one leads, the others stand by."

    def add_arguments(self, parser: ArgumentParser) -> None:
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--record", type=Path, metavar="FILE", help="write all that the source says; a new file")
        source.add_argument("--replay", type=Path, metavar="FILE", help="play a recording in place of the source")
        parser.add_argument("--record-mb", type=int, default=1024, metavar="N", help="end the recording at that size")
        parser.add_argument("--speed", type=float, default=settings.REPLAY_SPEED, help="of the replay")

    def handle(self, *args: Any, **options: Any) -> None:
        source = "replay" if options["replay"] else settings.MARKETDATA_SOURCE
        recorder = _recorder(source, options)
        stream, history = _replay(options) if options["replay"] else (_stream(recorder), get_provider)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        with recorder or nullcontext():
            database, cache = Database(), LiveCache.from_settings()
            FeedProcess(database, cache, stream, source, source == "simulator", history).run(stop)


def _stream(recorder: Recorder | None) -> Callable[[], IStreamProvider]:
    return lambda: get_stream_provider(recorder) if recorder else get_stream_provider()


def _recorder(source: str, options: dict[str, Any]) -> Recorder | None:
    if not options["record"]:
        return None
    if source == "replay":
        raise CommandError("A recording that is played is not recorded again.")
    if options["record_mb"] < 1:
        raise CommandError("--record-mb must be 1 or more.")
    secrets = (str(settings.TRADINGVIEW[name]) for name in ("auth_token", "session_cookie"))
    return Recorder(options["record"], secrets, limit_bytes=options["record_mb"] * MEBIBYTE)


def _replay(options: dict[str, Any]) -> tuple[Callable[[], IStreamProvider], Callable[[], IDataProvider]]:
    config = ReplayConfig(options["replay"], options["speed"])
    if not config.path.is_file():
        raise CommandError(f"There is no recording {config.path}.")
    if not 0.01 <= config.speed <= 1_000_000:
        raise CommandError("--speed must be a number between 0.01 and 1000000.")
    return lambda: ReplayStreamProvider(config), lambda: ReplayProvider(config.path)
