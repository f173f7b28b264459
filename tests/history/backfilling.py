"""`manage.py backfill` called in this process, and what is stored after it."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import BarStore, Database, Series
from infrastructure.tradingview.budget import RequestBudget

COIN, ETHER, SHARE, YOUNG = "BINANCE:BTCUSDT", "BINANCE:ETHUSDT", "NASDAQ:AAPL", "NASDAQ:NEWCO"
STORED = ("bar_chunk", "bar_series", "bar_coverage", "backfill_job", "symbol", "finding", "jobs_backfills")


def backfill(*arguments: str) -> str:
    out = StringIO()
    call_command("backfill", *arguments, stdout=out)
    return out.getvalue()


def series_of(*arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(backfill(*arguments, "--json"))["series"]
    return found


def failing(*arguments: str) -> tuple[CommandError, list[dict[str, Any]]]:
    out = StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("backfill", *arguments, "--json", stdout=out)
    return failed.value, json.loads(out.getvalue())["series"]


def everything() -> dict[str, list[Any]]:
    return {name: list(Database().collection(name).find()) for name in STORED}


def requests(cause: str = "backfill") -> int:
    counts = RequestBudget.from_settings().state().counts
    return sum(day.get(cause, 0) for day in counts.values())


def stored(bars: BarStore, key: str, interval: str = "1m") -> tuple[Series, Bars]:
    series = bars.find(key, INTERVALS[interval])
    assert series is not None
    return series, bars.read(series)
