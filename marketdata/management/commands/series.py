"""`manage.py series`: what is stored of which symbol, how complete it is, and where its source ends."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from infrastructure.persistence import BarStore, Database
from marketdata.management.failures import one_sentence
from marketdata.management.moments import iso, shown
from marketdata.management.tables import add_choice, choice, show, show_json
from marketdata.services import series
from marketdata.services.holdings import Holding, holdings

HEADINGS = ("symbol", "interval", "bars", "first (UTC)", "last (UTC)", "gaps", "missing", "source ends", "revision")


class Command(BaseCommand):
    help = "Lists the series of bars: how many, from when to when, what is missing, and where the source has no more."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_choice(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        with one_sentence():
            keys, intervals = choice(options)
            bars = series.store()
            found = holdings(bars, keys, intervals, Database().now_ms())
            rows = [_facts(one, bars) for one in found]
        if options["json"]:
            show_json(self.stdout, rows)
        else:
            show(self.stdout, HEADINGS, map(_row, found, rows), right=(2, 5, 6, 8))


def _facts(one: Holding, bars: BarStore) -> dict[str, Any]:
    known = one.coverage
    return {
        "symbol": one.series.symbol,
        "interval": one.series.interval.name,
        "adjustment": one.series.adjustment,
        "session": one.series.session,
        "revision": one.series.revision,
        "bars": bars.count(one.series),
        "first": iso(one.series.first_ms),
        "last": iso(one.series.last_ms),
        "covered": [[iso(start), iso(end)] for start, end in known.ranges],
        "gaps": None if one.gaps is None else len(one.gaps),
        "missing": None if one.gaps is None else one.missing,
        "ended": known.ended or None,
        "ended_before": iso(known.ended_ms),
        "ended_at": known.ended_at and known.ended_at.isoformat(),
    }


def _row(one: Holding, facts: dict[str, Any]) -> tuple[str, ...]:
    known = one.coverage
    unknown = one.gaps is None
    return (
        one.series.symbol,
        one.series.interval.name,
        f"{facts['bars']:,}",
        shown(one.series.first_ms),
        shown(one.series.last_ms),
        "?" if unknown else str(facts["gaps"]),
        "?" if unknown else f"{one.missing:,}",
        f"{known.ended} {shown(known.ended_ms)}" if known.ended else "",
        str(one.series.revision),
    )
