"""UTC milliseconds ↔ aware datetimes, exactly (no float between them). Pure."""

from datetime import UTC, datetime, timedelta

from infrastructure.errors import Malformed

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """What is finer than a millisecond is cut off."""
    return (moment - EPOCH) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    """Malformed beyond the years 1 to 9999."""
    try:
        return EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        raise Malformed("A time lies beyond the years 1 to 9999.", str(ms)) from None
