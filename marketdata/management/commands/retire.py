"""`manage.py retire`: symbols out of schedules and feed, or off the platform with or without their bars."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from infrastructure.errors import Rejected
from marketdata.management.failures import one_sentence
from marketdata.models import Symbol
from marketdata.services import removal, series, symbols
from marketdata.services.removal import Belongings

KEEP, EVERYTHING = "keep", "everything"


class Command(BaseCommand):
    help = (
        "Says what belongs to the symbols and asks. A retired symbol is neither pulled nor streamed; its bars stay "
        "readable. A deleted one is gone, its open backfill jobs are cancelled first, its bars are kept or go too."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("symbols", nargs="+", type=symbols.key_of, metavar="SYMBOL", help="EXCHANGE:TICKER")
        parser.add_argument("--delete", choices=(KEEP, EVERYTHING), help="delete them; what becomes of their bars")
        parser.add_argument("--cancel-jobs", action="store_true", help="also where they are only retired")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        bars = series.store()
        with one_sentence():
            rows = _known(options["symbols"])
            for found in removal.belongings(bars, rows):
                self.stdout.write(_said(found))
            if not options["yes"]:
                self._ask(options["delete"])
            if options["delete"]:
                keep = options["delete"] == KEEP
                cancelled = sum(removal.delete(bars, row, keep_bars=keep) for row in rows)
            else:
                cancelled = sum(removal.retire(row, cancel_jobs=options["cancel_jobs"]) for row in rows)
        done = (
            f"deleted, {'bars kept' if options['delete'] == KEEP else 'bars too'}" if options["delete"] else "retired"
        )
        self.stdout.write(f"{len(rows)} {done}; {cancelled} open jobs cancelled")

    def _ask(self, delete: str | None) -> None:
        if not sys.stdin.isatty():
            raise CommandError("Nothing was done: nobody can be asked here, so say --yes.")
        what = {None: "Retire them", KEEP: "Delete them and keep their bars", EVERYTHING: "Delete them and their bars"}
        if input(f"{what[delete]}? [y/N] ").strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was done.")


def _known(keys: list[str]) -> list[Symbol]:
    rows = list(Symbol.objects.filter(pk__in=keys))
    if unknown := sorted(set(keys) - {row.key for row in rows}):
        raise Rejected(f"Not on this platform: {', '.join(unknown)}.")
    return rows


def _said(found: Belongings) -> str:
    stored = ", ".join(f"{one.interval} {f'{size.bars:,} ' if size else ''}bars" for one, size in found.series)
    others = f"{found.jobs} open jobs, {found.pulls} pulls, {found.quotes} quotes, {found.findings} findings"
    measured = "" if found.bytes is None else f" ({found.bytes:,} bytes)"
    return f"{found.symbol.key}: {stored or 'no bars'}{measured}; {others}"
