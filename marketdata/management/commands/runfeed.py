"""`manage.py runfeed`: streams the wanted symbols from the source to the store, Redis and the browsers."""

import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from infrastructure.persistence import Database
from infrastructure.persistence.live import LiveCache
from marketdata.live.feed import FeedProcess
from marketdata.providers import get_provider, get_stream_provider


class Command(BaseCommand):
    help = "Streams live data. Any number may run: one leads, the others stand by."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        FeedProcess(
            Database(),
            LiveCache.from_settings(),
            get_stream_provider,
            settings.MARKETDATA_SOURCE,
            settings.MARKETDATA_SOURCE == "simulator",
            get_provider,
        ).run(stop)
