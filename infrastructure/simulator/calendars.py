"""Exchange holidays and early closes by rule, as the texts of `session_holidays` and `session-correction`. Pure."""

from collections.abc import Callable, Iterable, Iterator
from datetime import date, timedelta
from functools import lru_cache

YEARS = range(2000, 2031)
_DAY = timedelta(days=1)
_THURSDAY, _FRIDAY, _SATURDAY, _SUNDAY = 3, 4, 5, 6


def easter(year: int) -> date:
    """Western Easter Sunday (the anonymous Gregorian algorithm)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    correction = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * correction) // 451
    month, day = divmod(h + correction - 7 * m + 114, 31)
    return date(year, month, day + 1)


def weekday_of_month(year: int, month: int, weekday: int, nth: int) -> date:
    """The nth such weekday of a month; nth = -1 is the last one."""
    if nth > 0:
        first = date(year, month, 1)
        return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))
    last = date(year, month + 1, 1) - _DAY
    return last - timedelta(days=(last.weekday() - weekday) % 7)


def _nearest_weekday(day: date) -> date:
    if day.weekday() == _SATURDAY:
        return day - _DAY
    return day + _DAY if day.weekday() == _SUNDAY else day


def _next_weekday(day: date) -> date:
    while day.weekday() >= _SATURDAY:
        day += _DAY
    return day


def _united_states(year: int) -> Iterator[date]:
    # 1 January on a Saturday is not moved into the old year.
    if date(year, 1, 1).weekday() != _SATURDAY:
        yield _nearest_weekday(date(year, 1, 1))
    yield weekday_of_month(year, 1, 0, 3)
    yield weekday_of_month(year, 2, 0, 3)
    yield easter(year) - 2 * _DAY
    yield weekday_of_month(year, 5, 0, -1)
    if year >= 2022:
        yield _nearest_weekday(date(year, 6, 19))
    yield _nearest_weekday(date(year, 7, 4))
    yield weekday_of_month(year, 9, 0, 1)
    yield weekday_of_month(year, 11, _THURSDAY, 4)
    yield _nearest_weekday(date(year, 12, 25))


def _united_kingdom(year: int) -> Iterator[date]:
    yield _next_weekday(date(year, 1, 1))
    yield easter(year) - 2 * _DAY
    yield easter(year) + _DAY
    yield weekday_of_month(year, 5, 0, 1)
    yield weekday_of_month(year, 5, 0, -1)
    yield weekday_of_month(year, 8, 0, -1)
    christmas = _next_weekday(date(year, 12, 25))
    yield christmas
    yield _next_weekday(christmas + _DAY)


def _fixed(*days: tuple[int, int]) -> Callable[[int], Iterator[date]]:
    def of(year: int) -> Iterator[date]:
        return (date(year, month, day) for month, day in days)

    return of


_RULES: dict[str, Callable[[int], Iterable[date]]] = {
    "US": _united_states,
    "GB": _united_kingdom,
    "IN": _fixed((1, 26), (8, 15), (10, 2)),
    "KR": _fixed((1, 1), (3, 1), (8, 15), (12, 25)),
    "HK": _fixed((1, 1), (7, 1), (10, 1), (12, 25)),
    "CME": _fixed((1, 1), (12, 25)),
}


@lru_cache(maxsize=16)
def holidays(name: str) -> tuple[str, ...]:
    """YYYYMMDD of the weekdays on which the exchange stays closed; none for an empty name."""
    rule = _RULES.get(name, _fixed())
    return tuple(f"{day:%Y%m%d}" for year in YEARS for day in sorted(rule(year)) if day.weekday() < _SATURDAY)


@lru_cache(maxsize=16)
def early_closes(name: str, session: str) -> str:
    """Days on which the exchange closes early, as `session-correction`; `session` is that day, like 0930-1300."""
    if name != "US":
        return ""
    closed = set(holidays(name))
    days = []
    for year in YEARS:
        eves = (date(year, 7, 3), weekday_of_month(year, 11, _THURSDAY, 4) + _DAY, date(year, 12, 24))
        days += [f"{day:%Y%m%d}" for day in eves if day.weekday() <= _FRIDAY and f"{day:%Y%m%d}" not in closed]
    return f"{session}:{','.join(days)}"
