"""`manage.py exportbars`: a stored series into a CSV, Parquet or Arrow file."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from infrastructure.intervals import parse_interval
from marketdata.management.failures import one_sentence
from marketdata.management.moments import in_ms, moment
from marketdata.services import series, symbols, transfer


class Command(BaseCommand):
    help = "Writes the bars of one series into a file, in the format that its name ends with: .csv, .parquet or .arrow."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("symbol", metavar="SYMBOL", help="EXCHANGE:TICKER")
        parser.add_argument("file", type=Path, metavar="FILE")
        parser.add_argument("--interval", default="1m", help="default 1m")
        parser.add_argument("--from", dest="start", metavar="DATE")
        parser.add_argument("--to", dest="end", metavar="DATE", help="a date includes that day, a time is not included")

    def handle(self, *args: Any, **options: Any) -> None:
        with one_sentence():
            key, interval = symbols.key_of(options["symbol"]), parse_interval(options["interval"])
            start = in_ms(moment(options["start"], "--from"))
            end = in_ms(moment(options["end"], "--to", whole_day=True))
            bars = transfer.export(series.store(), key, interval, options["file"], start, end)
        self.stdout.write(f"{key} {interval}: {bars:,} bars written to {options['file']}")
