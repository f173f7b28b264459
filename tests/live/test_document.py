"""docs/live-protocol.md and the code say the same."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError

from infrastructure.bars import Bar
from infrastructure.intervals import INTERVALS
from infrastructure.persistence import closed_log
from infrastructure.tradingview.base import Quote, State
from marketdata.live import connection, consumers, hub, protocol, schema
from marketdata.live.errors import Code
from marketdata.live.frames import HOLE, Frames
from marketdata.live.latest import Latest
from marketdata.services import attempts, holders
from marketdata.services.feed_report import Feed
from tests.live.schema import FILE, checked

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


def test_messages_and_their_fields() -> None:
    documented = {names(row[0])[0]: names(row[1]) for row in rows("What servers send") if names(row[0]) != ["type"]}
    assert documented == {str(struct.__struct_config__.tag): fields(struct) for struct in schema.FROM_SERVERS}


def test_the_published_schema_is_that_of_the_types() -> None:
    """`python -m marketdata.live.schema > docs/live-protocol.schema.json` writes it."""
    published = json.loads(FILE.read_text())
    assert published == schema.schema()
    Draft202012Validator.check_schema(published)


def test_what_servers_join_of_parts_is_what_the_schema_says() -> None:
    latest = Latest()
    latest.quotes = {"A:B": protocol.encode_quote(Quote("A:B"), 1, 2).decode()}
    bar = protocol.encode_bar("A:B", INTERVALS["1m"], 1, Bar(60_000, 1, 2, 0, 1, float("nan")), True, 120_000)
    frames = Frames(latest, log=',"log":{"epoch":"x","offset":"1-0"}')
    kept = {}
    for type in ("update", "snapshot", HOLE):
        event, _ = frames.of(type, frozenset({"A:B"}), frozenset(), (bar.decode(),))
        kept[type] = set(checked(json.loads(event["text"])))
    assert kept == {
        "update": {"type", "quotes", "bars", "log"},
        "snapshot": {"type", "quotes", "bars", "log"},
        HOLE: {"type", "quotes", "bars", "log", "recovered"},
    }


@pytest.mark.parametrize(
    "message",
    [
        {"type": "ping"},
        {"type": "ping", "n": "1"},
        {"type": "ping", "n": 1, "more": 1},
        {"type": "update", "quotes": [{"s": "A:B"}], "bars": []},
        {"type": "bye", "code": 4100, "reason": "x", "reconnect": 1},
    ],
)
def test_the_check_of_messages_can_fail(message: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        checked(message)


def test_fields_of_quotes_and_bars() -> None:
    quotes = [name for row in rows("Quotes") for name in names(row[0])]
    bars = [name for row in rows("Bars") for name in names(row[0])]
    assert sorted(quotes) == sorted(fields(protocol.QuoteMessage))
    assert sorted(bars) == sorted(fields(protocol.BarMessage))


def test_the_state_of_the_feed() -> None:
    told = re.search(r"`feed` holds (.*?)\n\n", DOCUMENT, re.DOTALL)
    assert told is not None
    assert names(told[1]) == fields(Feed)
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
        f"with {connection.OUTBOX} messages, {connection.OUTBOX_CHARACTERS:,} characters of them or "
        f"{connection.CLOSED_BARS:,} closed bars unread",
        f"names over {consumers.REFUSED_ITEMS:,} more",
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
