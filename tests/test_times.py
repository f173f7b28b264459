from datetime import UTC, datetime, timedelta, timezone

import pytest

from infrastructure.errors import Malformed
from infrastructure.times import from_ms, to_ms


@pytest.mark.parametrize("ms", [0, -1, 1, 1_700_000_000_123, -62_135_596_800_000, 253_402_300_799_999])
def test_milliseconds_go_to_aware_datetimes_and_back(ms: int) -> None:
    assert to_ms(from_ms(ms)) == ms


def test_a_datetime_of_another_zone_is_the_same_moment_and_finer_parts_are_cut_off() -> None:
    moment = datetime(1970, 1, 1, 2, 0, 0, 1999, tzinfo=timezone(timedelta(hours=2)))
    assert to_ms(moment) == 1
    assert from_ms(1) == datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)


def test_a_time_beyond_the_calendar_is_malformed() -> None:
    with pytest.raises(Malformed) as caught:
        from_ms(10**18)
    assert caught.value.sample == str(10**18)
