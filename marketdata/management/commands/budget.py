"""`manage.py budget`: the pace of all processes towards the source, and how many requests were made for what."""

from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from infrastructure.tradingview.budget import COUNTED_DAYS, RequestBudget
from marketdata.management.failures import one_sentence
from marketdata.management.tables import show, show_json


class Command(BaseCommand):
    help = "Shows the request budget that all processes share, and the requests of the last days by cause."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--days", type=int, default=7, choices=range(1, COUNTED_DAYS + 1), metavar="DAYS")
        parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        with one_sentence():
            state = RequestBudget.from_settings().state(options["days"])
        pause_s = settings.TRADINGVIEW["pause_s"]
        if options["json"]:
            show_json(self.stdout, {"pause_s": pause_s, **asdict(state)})
            return
        rows = [(day, cause, f"{count:,}") for day, found in state.counts.items() for cause, count in found.items()]
        show(self.stdout, ("day (UTC)", "cause", "requests"), rows, right=(2,))
        self.stdout.write(f"a pause of {pause_s:g} s between requests, now {state.slower} times as long\n")
