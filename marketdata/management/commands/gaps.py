"""`manage.py gaps`: the stretches of trading time that no run has received yet."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from infrastructure.persistence import Database
from marketdata.management.failures import one_sentence
from marketdata.management.moments import in_ms, iso, moment, shown
from marketdata.management.tables import add_choice, choice, show, show_json
from marketdata.services import series
from marketdata.services.holdings import holdings

HEADINGS = ("symbol", "interval", "from (UTC)", "to (UTC)", "bars")


class Command(BaseCommand):
    help = (
        "Lists the stretches of trading time that were never fetched, by each series's own trading hours. A time in "
        "which nothing was traded is no gap. Fill one with: manage.py backfill SYMBOL --interval … --from … --to …"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_choice(parser)
        parser.add_argument("--from", dest="start", metavar="DATE", help="default: the first bar of each series")
        parser.add_argument("--to", dest="end", metavar="DATE", help="default: now")

    def handle(self, *args: Any, **options: Any) -> None:
        with one_sentence():
            keys, intervals = choice(options)
            start = in_ms(moment(options["start"], "--from"))
            end = in_ms(moment(options["end"], "--to", whole_day=True))
            found = holdings(series.store(), keys, intervals, Database().now_ms(), start, end)
        gaps = [(one.series, gap) for one in found for gap in one.gaps or ()]
        if options["json"]:
            show_json(
                self.stdout,
                [
                    {
                        "symbol": one.symbol,
                        "interval": one.interval.name,
                        "from": iso(gap.start_ms),
                        "to": iso(gap.end_ms),
                        "bars": gap.bars,
                    }
                    for one, gap in gaps
                ],
            )
            return
        rows = [
            (one.symbol, one.interval.name, shown(gap.start_ms), shown(gap.end_ms), f"{gap.bars:,}")
            for one, gap in gaps
        ]
        show(self.stdout, HEADINGS, rows, right=(4,))
        unknown = sum(one.gaps is None for one in found)
        self.stdout.write(f"{len(gaps)} gaps in {len(found)} series; of {unknown} the hours are unknown\n")
