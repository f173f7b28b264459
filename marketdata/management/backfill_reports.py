"""What `manage.py backfill` says in the end: tables for a person, one JSON document for a program."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from infrastructure.times import to_ms
from marketdata.management.backfill_runs import Checked, Row
from marketdata.management.moments import iso, shown
from marketdata.management.progress import duration
from marketdata.models import BackfillJob
from marketdata.services.forecast import Forecast
from marketdata.services.verifying import Difference

SHOWN_STRETCHES = 5  # of a series in the table; the JSON has all
COUNTS = ("received", "new", "corrected", "documents")


def worked(console: Console, rows: Sequence[Row]) -> None:
    table = _table("series", "state", right=("bars received", "new", "corrected", "documents written", "seconds"))
    for row in rows:
        table.add_row(str(row.job), row.job.state, *(f"{count:,}" for count in row.steps), f"{row.seconds:.1f}")
    console.print(table)


def worked_json(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "series": [
            {
                **_named(row.job),
                "job": str(row.job.pk),
                "state": row.job.state,
                **dict(zip(COUNTS, row.steps, strict=True)),
                "reached": _iso(row.job.reached_at),
                "ended": row.job.ended or None,
                "seconds": round(row.seconds, 3),
                "error": str(row.error) if row.error else row.job.error or None,
            }
            for row in rows
        ]
    }


def planned(console: Console, plans: Sequence[Forecast], seconds: float) -> None:
    table = _table("series", "from (UTC)", "to (UTC)", right=("bars", "requests"))
    for plan in plans:
        name = str(plan.job) if plan.known else f"{plan.job} (trading hours unknown)"
        if not plan.stretches:
            table.add_row(name, "nothing is missing", "", "0", "0")
        for place, one in enumerate(plan.stretches[:SHOWN_STRETCHES]):
            series, asked = ("", "") if place else (name, f"{plan.requests:,}")
            table.add_row(series, shown(one.start_ms), shown(one.end_ms), f"{one.bars:,}", asked)
        if rest := plan.stretches[SHOWN_STRETCHES:]:
            table.add_row("", f"and {len(rest):,} more stretches", "", f"{sum(one.bars for one in rest):,}", "")
    console.print(table)
    requests, bars = sum(plan.requests for plan in plans), sum(plan.bars for plan in plans)
    console.print(f"about {requests:,} requests for {bars:,} bars, {duration(seconds)} at the present pace")


def planned_json(plans: Sequence[Forecast], seconds: float) -> dict[str, Any]:
    return {
        "series": [
            {
                **_named(plan.job),
                "hours_known": plan.known,
                "bars": plan.bars,
                "requests": plan.requests,
                "ranges": [
                    {"from": iso(one.start_ms), "to": iso(one.end_ms), "bars": one.bars} for one in plan.stretches
                ],
            }
            for plan in plans
        ],
        "bars": sum(plan.bars for plan in plans),
        "requests": sum(plan.requests for plan in plans),
        "seconds": round(seconds, 1),
    }


def verified(console: Console, rows: Sequence[Checked]) -> None:
    table = _table("series", right=("bars compared", "missing", "extra", "differing"))
    for row in rows:
        found = row.found
        counts = (found.bars, found.missing, found.extra, found.differing) if found else ()
        table.add_row(str(row.job), *(f"{count:,}" for count in counts))
    console.print(table)
    for row in rows:
        for one in row.found.listed if row.found else ():
            values = f"stored {_prices(one.stored)}, source {_prices(one.source)}"
            console.print(f"{row.job} {shown(one.time_ms)} {one.kind}: {values}", soft_wrap=True, markup=False)


def verified_json(rows: Sequence[Checked]) -> dict[str, Any]:
    return {"series": [{**_named(row.job), **_findings(row)} for row in rows]}


def _findings(row: Checked) -> dict[str, Any]:
    found = row.found
    if found is None:
        return {"error": str(row.error)}
    counts = {name: getattr(found, name) for name in ("bars", "missing", "extra", "differing")}
    return {**counts, "differences": list(map(_difference, found.listed)), "error": None}


def _difference(one: Difference) -> dict[str, Any]:
    return {"kind": one.kind, "time": iso(one.time_ms), "stored": _values(one.stored), "source": _values(one.source)}


def _values(values: tuple[float, ...] | None) -> list[float | None] | None:
    """JSON has no NaN: a volume that the instrument does not have is null."""
    return None if values is None else [None if math.isnan(value) else value for value in values]


def _prices(values: tuple[float, ...] | None) -> str:
    return "nothing" if values is None else " ".join(f"{value:.12g}" for value in values)


def queued_json(jobs: Sequence[BackfillJob]) -> dict[str, Any]:
    return {"jobs": [{**_named(job), "job": str(job.pk)} for job in jobs]}


def _named(job: BackfillJob) -> dict[str, Any]:
    return {"symbol": job.symbol, "interval": job.interval}


def _iso(at: datetime | None) -> str | None:
    return None if at is None else iso(to_ms(at))


def _table(*left: str, right: Sequence[str]) -> Table:
    table = Table(*left)
    for heading in right:
        table.add_column(heading, justify="right")
    return table
