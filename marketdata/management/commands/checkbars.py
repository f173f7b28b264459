"""`manage.py checkbars`: are the stored bars of an interval what the finer stored ones of the same symbol make?"""

from argparse import ArgumentParser
from collections.abc import Callable, Collection
from typing import Any

from django.core.management.base import BaseCommand

from infrastructure.persistence import Series
from marketdata.management.failures import one_sentence
from marketdata.management.moments import iso, shown
from marketdata.management.tables import add_choice, choice, show, show_json
from marketdata.services import derived, series

HEADINGS = ("symbol", "interval", "made of", "bar (UTC)", "stored close", "made close")
BARS = 500


class Command(BaseCommand):
    help = (
        "Compares the newest bars of each series with what a finer stored series makes of them. Each difference "
        "becomes a finding in the admin. Ends with 1 where there is one."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_choice(parser)
        parser.add_argument("--bars", type=int, default=BARS, help=f"how many of the newest bars; default {BARS}")

    def handle(self, *args: Any, **options: Any) -> None:
        found: list[tuple[str, str, str, int, float | None, float]] = []
        with one_sentence():
            keys, intervals = choice(options)
            for one, finer, two in derived.check_all(series.store(), options["bars"], wanted(keys, intervals)):
                close = None if two.stored is None else two.stored.close
                names = (one.symbol, one.interval.name, finer.interval.name)
                found.append((*names, two.made.time_ms, close, two.made.close))
        if options["json"]:
            fields = ("symbol", "interval", "made_of", "time", "stored_close", "made_close")
            show_json(self.stdout, [dict(zip(fields, (*row[:3], iso(row[3]), *row[4:]), strict=True)) for row in found])
        else:
            show(self.stdout, HEADINGS, [(*row[:3], shown(row[3]), repr(row[4]), repr(row[5])) for row in found])
        if found:
            raise SystemExit(1)


def wanted(keys: Collection[str], intervals: Collection[str]) -> Callable[[Series], bool]:
    """Empty: all."""
    return lambda one: (not keys or one.symbol in keys) and (not intervals or one.interval.name in intervals)
