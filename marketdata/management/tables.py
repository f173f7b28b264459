"""Answers of commands as a table for a person or JSON for a program."""

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from typing import Any

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.table import Table

from infrastructure.errors import Rejected
from infrastructure.intervals import parse_interval
from marketdata.models import Symbol
from marketdata.services import symbols

PLAIN_WIDTH = 160  # where no terminal has one


def add_choice(parser: ArgumentParser) -> None:
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="EXCHANGE:TICKER; all where none is given")
    parser.add_argument("--interval", action="append", default=[], help="may be given several times; all by default")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def choice(options: dict[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    """Symbols and interval names. Rejected for a symbol that the platform does not have."""
    keys = frozenset(map(symbols.key_of, options["symbols"]))
    if unknown := sorted(keys - set(Symbol.objects.filter(pk__in=list(keys)).values_list("pk", flat=True))):
        raise Rejected(f"There is no symbol {unknown[0]} on this platform.")
    return keys, frozenset(parse_interval(name).name for name in options["interval"])


def show(out: OutputWrapper, headings: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> None:
    """`right`: the columns of numbers."""
    table = Table()
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place in right else "left")
    for row in rows:
        table.add_row(*row)
    out.ending = ""  # rich ends its lines itself
    width = None if out.isatty() else PLAIN_WIDTH
    Console(file=out, width=width, highlight=False).print(table)  # type: ignore[arg-type]  # a text stream in all but name


def show_json(out: OutputWrapper, value: Any) -> None:
    out.write(json.dumps(value, indent=1, ensure_ascii=False))
