"""How the admin shows states, times and ages. Classes only: the content security policy allows no inline style."""

from collections.abc import Iterable

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from infrastructure.times import from_ms
from marketdata.services.overview import Kept, worst

NEVER = "–"


def mark(state: str, text: str = "", title: str = "") -> SafeString:
    return format_html('<span class="mark mark-{}" title="{}">{}</span>', state, title, text or state)


def linked(state: str, text: str, url: str) -> SafeString:
    return format_html('<a class="mark mark-{}" href="{}">{}</a>', state, url, text)


def counted(number: int, noun: str) -> str:
    """1 symbol, 2 symbols"""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(ms: int | None) -> str:
    return NEVER if ms is None else f"{from_ms(ms):%Y-%m-%d %H:%M:%S}"


def age(ms: int | None, now_ms: int) -> str:
    """In the largest unit that counts at least two of it."""
    if ms is None:
        return "never"
    seconds = max(now_ms - ms, 0) // 1000
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def freshness(found: Iterable[Kept], now_ms: int) -> SafeString:
    """One mark for all that is kept of a symbol; what it is made of as its title."""
    every = list(found)
    if not every:
        return mark("none", "nothing kept")
    said = ", ".join(f"{one.interval or 'quote'} {one.freshness} ({age(one.at_ms, now_ms)})" for one in every)
    return mark(worst(every), title=said)


def kept_table(found: Iterable[Kept], now_ms: int) -> SafeString:
    rows = format_html_join(
        "",
        "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
        (
            (one.interval or "quote", mark(one.freshness), moment(one.at_ms), f"{age(one.at_ms, now_ms)} ago")
            for one in found
        ),
    )
    return format_html('<table class="kept">{}</table>', rows)


def day(ms: int | None) -> str:
    return NEVER if ms is None else f"{from_ms(ms):%Y-%m-%d}"


def size(count: int) -> str:
    """12 kB, 3.4 MB"""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.1f} GB"


def duration(seconds: float) -> str:
    """40 s, 12 min, 3 h 20 min, 4 days"""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{round(minutes / 1440)} days"
