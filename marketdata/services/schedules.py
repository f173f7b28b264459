"""The platform's schedules. `install` makes those that are missing; what an operator changed or deleted stays so."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from infrastructure.intervals import INTERVALS, MINUTE_MS, Interval
from infrastructure.scheduling import JobScheduler
from marketdata.services.watchlist import INTERVALS as COLLECTED


@dataclass(frozen=True, slots=True)
class Plan:
    name: str
    func: str
    cron: str  # the sixth field holds seconds
    args: tuple[Any, ...] = ()
    slot_kwarg: str | None = None


def plans() -> list[Plan]:
    """Seconds are spread, so that pulls do not meet; the first comes after the source has closed its bar."""
    return [
        *(_pull(INTERVALS[name], 4 + 7 * place) for place, name in enumerate(COLLECTED)),
        Plan("refresh quotes", "marketdata.tasks.refresh_quotes", "* * * * * 40"),
        Plan("refresh symbols", "marketdata.tasks.refresh_symbols", "*/10 * * * * 50"),
        Plan("tend backfills", "marketdata.tasks.tend_backfills", "* * * * * 55"),
        Plan("trim bars", "marketdata.tasks.trim_bars", "17 3 * * * 30"),
        Plan("check bars", "marketdata.tasks.check_bars", "47 3 * * * 30"),
    ]


def _pull(interval: Interval, second: int) -> Plan:
    """Each minutes-long interval as it closes; longer ones each quarter of an hour, as sessions end at any of them.

    Where the real source is asked, not more often than every five minutes. A pull asks for nothing that cannot be new.
    """
    minutes = min(interval.length_ms // MINUTE_MS, 15)
    if settings.MARKETDATA_SOURCE != "simulator":
        minutes = max(minutes, 5)
    every = "*" if minutes == 1 else f"*/{minutes}"
    args = (interval.name,)
    return Plan(f"pull {interval}", "marketdata.tasks.pull_bars", f"{every} * * * * {second}", args, "slot")


def install(made: set[str]) -> set[str]:
    """Makes the schedules whose names are not among those ever made; gives the names made now."""
    scheduler = JobScheduler()
    new = [plan for plan in plans() if plan.name not in made]
    for plan in new:
        scheduler.schedule(plan.name, plan.func, cron=plan.cron, args=plan.args, slot_kwarg=plan.slot_kwarg)
    return {plan.name for plan in new}
