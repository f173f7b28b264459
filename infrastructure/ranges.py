"""Arithmetic of ranges of time: [start, end) pairs of UTC milliseconds, kept ascending and apart. Pure; used by what
knows which stretches of a history were received, and which are missing."""

from collections.abc import Iterable

Range = tuple[int, int]
Ranges = tuple[Range, ...]


def united(ranges: Iterable[Range]) -> Ranges:
    """Ascending, those that overlap or touch as one, empty ones gone."""
    found: list[Range] = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)


def minus(ranges: Iterable[Range], taken: Iterable[Range]) -> Ranges:
    """What of the ranges lies in none of the taken ones."""
    left: list[Range] = []
    gone = united(taken)
    for start, end in united(ranges):
        for low, high in gone:
            if high <= start:
                continue
            if low >= end:
                break
            if start < low:
                left.append((start, low))
            start = max(start, high)
        if start < end:
            left.append((start, end))
    return tuple(left)


def within(ranges: Iterable[Range], start: int, end: int) -> Ranges:
    """Their parts inside [start, end)."""
    return united((max(low, start), min(high, end)) for low, high in ranges)
