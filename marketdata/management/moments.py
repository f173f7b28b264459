"""Dates and times as a person types and reads them, for commands."""

from datetime import UTC, datetime, timedelta

from infrastructure.errors import Rejected
from infrastructure.times import from_ms, to_ms


def moment(text: str | None, option: str, whole_day: bool = False) -> datetime | None:
    """UTC unless the text says otherwise. `whole_day`: a date means its end."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        is_date = len(text) == len("2026-01-31") and whole_day
        return (found + timedelta(days=int(is_date))).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Rejected(f"{option} takes a date or time as in 2026-01-31 or 2026-01-31T09:30, not {text!r}.") from None


def in_ms(found: datetime | None) -> int | None:
    return None if found is None else to_ms(found)


def shown(ms: int | None) -> str:
    return "–" if ms is None else f"{from_ms(ms):%Y-%m-%d %H:%M}"


def iso(ms: int | None) -> str | None:
    return None if ms is None else from_ms(ms).isoformat().replace("+00:00", "Z")
