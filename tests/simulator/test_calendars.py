import re
from pathlib import Path

from infrastructure.simulator import calendars


def test_new_york_holidays_are_those_of_the_real_exchange(captures: Path) -> None:
    text = (captures / "09-aapl-1D-five-bars-anonymous.json").read_text()
    found = re.search(r"session_holidays\W+([\d,]+)", text)
    assert found
    one_time_closings = {"20040611", "20070102"}  # two presidents' funerals
    real = set(found[1].split(","))
    assert {day for day in calendars.holidays("US") if day < "2028"} == real - one_time_closings


def test_new_york_closes_early_around_its_holidays() -> None:
    session, _, days = calendars.early_closes("US", "0930-1300").partition(":")
    assert session == "0930-1300"
    assert [day for day in days.split(",") if day.startswith(("2024", "2025", "2026"))] == [
        "20240703", "20241129", "20241224", "20250703", "20251128", "20251224", "20261127", "20261224",
    ]  # fmt: skip


def test_an_unknown_calendar_has_no_holidays() -> None:
    assert calendars.holidays("") == ()
