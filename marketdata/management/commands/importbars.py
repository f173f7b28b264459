"""`manage.py importbars`: bars from CSV, Parquet or Arrow files into the bar store."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from infrastructure.persistence import Database
from marketdata.management.failures import one_sentence
from marketdata.services import series, symbols, transfer


class Command(BaseCommand):
    help = (
        "Reads files that exportbars has written, or others with the columns time, open, high, low, close, volume. "
        "Bars that cannot be true are set aside as findings; the rest is merged: repeating an import changes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--symbol", help="EXCHANGE:TICKER, of files that do not say (CSV)")
        parser.add_argument("--interval", help="of files that do not say")

    def handle(self, *args: Any, **options: Any) -> None:
        key = options["symbol"] and symbols.key_of(options["symbol"])
        with one_sentence():
            now_ms = Database().now_ms()
            for path in options["files"]:
                done = transfer.take_in(series.store(), path, now_ms, key, options["interval"])
                said = f"{done.written.new:,} new, {done.written.corrected:,} corrected, {done.aside:,} set aside"
                self.stdout.write(f"{path.name}: {done.bars:,} bars, {said}")
