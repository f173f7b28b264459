"""Stored values to the JSON of the API: columns and documents in, bytes out, no object per bar."""

from collections.abc import Iterable
from typing import Any

import msgspec
from django.http import HttpResponse

from infrastructure.bars import Bars
from infrastructure.intervals import INTERVALS
from marketdata.models import Symbol

_encode = msgspec.json.Encoder().encode  # a NaN becomes null


def json(value: Any) -> HttpResponse:
    # Not kept by a browser or proxy: it is old in a second, and may be for one account only.
    return HttpResponse(_encode(value), content_type="application/json", headers={"Cache-Control": "private, no-store"})


def bar_rows(bars: Bars) -> list[tuple[Any, ...]]:
    """(t, o, h, l, c, v) of each bar, ascending; an unknown volume becomes null."""
    return list(zip(*(column.tolist() for column in bars.columns), strict=True))


def symbol(row: Symbol) -> dict[str, Any]:
    return {
        "symbol": row.key,
        "description": row.description,
        "type": row.type,
        "currency": row.currency,
        "timezone": row.timezone,
        "session": row.session,
        "price_scale": row.price_scale,
        "min_move": row.min_move,
        "has_volume": row.has_volume,
        "full_name": row.full_name,
        "venue": row.venue,
        "update_mode": row.update_mode,
        "delay_s": row.delay_s,
        "active": row.active,
        "intervals": by_length({*row.collect_intervals, *row.stream_intervals}),
    }


def by_length(names: Iterable[str]) -> list[str]:
    wanted = set(names)
    return [name for name in INTERVALS if name in wanted]
