"""docs/live-protocol.md and the code say the same."""

import re
from pathlib import Path
from typing import get_args

import msgspec

from infrastructure.intervals import INTERVALS
from infrastructure.persistence import closed_log
from infrastructure.tradingview.base import State
from marketdata.live import connection, consumers, hub, protocol
from marketdata.live.errors import Code
from marketdata.services import attempts, holders

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "live-protocol.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Cells of the tables of a section, without their heads; of the section itself, not of those below it."""
    section = DOCUMENT.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]
    tables = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row] for row in tables]
    return [row for n, row in enumerate(cells) if not (row[0].startswith("-") or cells[n + 1 : n + 2] == [["---"]])]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def fields(struct: type[msgspec.Struct]) -> list[str]:
    return list(struct.__struct_fields__)


def test_operations_and_their_fields() -> None:
    documented = {names(row[0])[0]: names(row[1]) for row in rows("What clients send") if names(row[0]) != ["op"]}
    assert documented == {str(struct.__struct_config__.tag): fields(struct) for struct in get_args(protocol.Operation)}
    assert tuple(documented) == protocol.OPERATIONS


def test_messages_and_their_fields() -> None:
    documented = {names(row[0])[0]: names(row[1]) for row in rows("What servers send") if names(row[0]) != ["type"]}
    values = {"snapshot": ["quotes", "bars", "recovered", "log"], "update": ["quotes", "bars", "log"]}
    assert documented == values | {
        str(struct.__struct_config__.tag): fields(struct) for struct in get_args(protocol.Message)
    }


def test_fields_of_quotes_and_bars() -> None:
    quotes = [name for row in rows("Quotes") for name in names(row[0])]
    bars = [name for row in rows("Bars") for name in names(row[0])]
    assert sorted(quotes) == sorted(fields(protocol.QuoteMessage))
    assert sorted(bars) == sorted(fields(protocol.BarMessage))


def test_the_state_of_the_feed() -> None:
    told = re.search(r"`feed` holds (.*?)\n\n", DOCUMENT, re.DOTALL)
    assert told is not None
    assert names(told[1]) == fields(protocol.Feed)
    documented = {name for row in rows("State of the feed") for name in names(row[0]) if name != "state"}
    assert documented == {*get_args(State), "market_closed", "standby", "absent"}


def test_limits_and_refusals_are_named() -> None:
    assert all(f"`{name}`" in DOCUMENT for name in (*fields(protocol.Limits), *fields(protocol.Refused)))


def test_every_error_with_its_number_and_what_it_asks_of_the_client() -> None:
    parts = re.split(r"\n\n(?=Refused;|The connection ends;)", DOCUMENT.split("## Errors\n", 1)[1])[1:]
    documented = [
        {name: int(number) for number, name in re.findall(r"^\| (\d{4}) \| `(\w+)`", part, re.MULTILINE)}
        for part in parts
    ]
    assert documented == [
        {code.name: code.value for code in Code if not code.closes},
        {code.name: code.value for code in Code if code.closes and code.reconnect},
        {code.name: code.value for code in Code if not code.reconnect},
    ]


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    assert f"{' '.join(INTERVALS)}" in " ".join(DOCUMENT.split())
    for text in (
        f"after {hub.BUSY_LIMIT_S:g} s without taking anything",
        f"with {connection.OUTBOX} messages or {connection.CLOSED_BARS:,} closed bars unread",
        f"for {hub.HEARTBEATS_MISSED:g} periods is closed",
        f"more than {protocol.MAX_MESSAGE_BYTES:,} bytes",
        f"about the last {closed_log.LOG_LENGTH:,} closed bars",
        f"at most {connection.CLOSED_BARS // 2:,} are replayed",
        f"ticket or an API key in its first message, within {consumers.AUTH_TIMEOUT_S:g} s",
        f'"life_s":{holders.TICKET_S}',
        f"{attempts.LIMIT} failed attempts from this address within a minute",
        f"more than {consumers.MESSAGES_PER_S:g} a second on average, or {consumers.MESSAGES_BURST} at once",
    ):
        assert text.lower() in " ".join(DOCUMENT.split()).lower(), text
