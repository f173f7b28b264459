"""What schedules and queues run: three lines each, that call a service. Idempotent, and repeated when a worker dies."""

from infrastructure.intervals import parse_interval
from infrastructure.persistence import Database
from infrastructure.times import from_ms
from marketdata.providers import get_provider
from marketdata.services import backfill, backfill_jobs, derived, pulls, quotes, removal, retention, series, symbols
from marketdata.services.upstream import says_off


@says_off
def pull_bars(interval: str, slot: str = "", only: list[str] | None = None) -> str:
    """`slot` only names the run in its record: what there is to pull depends on the present."""
    chosen = None if only is None else frozenset(only)
    with get_provider() as provider:
        return str(pulls.pull(provider, series.store(), parse_interval(interval), Database().now_ms(), only=chosen))


@says_off
def refresh_quotes() -> str:
    with get_provider() as provider:
        return str(quotes.refresh(provider, Database().now_ms()))


@says_off
def refresh_symbols(keys: list[str] | None = None) -> str:
    with get_provider() as provider:
        return str(symbols.refresh(provider, symbols.due() if keys is None else keys))


def run_backfill(job_id: str, run: int) -> str:
    return backfill.work(job_id, run)


def tend_backfills() -> int:
    series.store().revisions.sweep()
    removal.finish(series.store())
    return backfill_jobs.tend(from_ms(Database().now_ms()))


def trim_bars() -> int:
    return retention.trim(series.store(), Database().now_ms())


def check_bars() -> int:
    return derived.check_daily(series.store())
