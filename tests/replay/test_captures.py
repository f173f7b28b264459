"""Files as captures: what a kill, an editor or a mistake may leave, and the payloads that were recorded by others."""

import json
import logging
from pathlib import Path

import pytest

from infrastructure.errors import Malformed, Rejected
from infrastructure.replay.captures import read
from infrastructure.replay.lines import Record, encode
from infrastructure.tradingview.base import Quote, QuoteUpdate, StreamState, SymbolRefused, Wanted
from tests.replay.recording import played

WALL = 1_767_625_247_345
RECORDS = [Record(0.0, WALL, 0, "+", ""), Record(0.5, WALL + 500, 0, "<", "~m~4~m~~h~1"), Record(0.5, WALL, 0, "-", "")]
LINES = "# capture 1\n" + "".join(map(encode, RECORDS))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "capture"


def test_a_capture_is_its_records(path: Path) -> None:
    path.write_text(LINES)
    assert list(read(path)) == RECORDS
    assert [record.line for record in read(path)] == [2, 3, 4]


@pytest.mark.parametrize("cut", range(1, len(encode(RECORDS[2]))))
def test_a_last_line_that_was_torn_off_is_left_out_and_said(
    path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(LINES.encode()[:-cut])
    assert list(read(path)) == RECORDS[:2]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: the last line, 4, was torn off and is left out"
    ]


def test_a_line_torn_within_a_letter_is_left_out_too(path: Path) -> None:
    path.write_bytes(LINES.encode() + encode(Record(1, WALL, 0, "<", "ü")).encode()[:-2])
    assert list(read(path)) == RECORDS


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"hello\n", 1),
        (b"\x00\xff\x80", 1),
        (b"\x89PNG\r\n\x1a\n", 1),
        (LINES.encode() + b"hello\n" + LINES.encode(), 5),
        (LINES.encode() + b"\xff\n", 5),
        (LINES.encode() + encode(Record(0.4, WALL, 0, "+", "")).encode(), 5),
        (b'["a", 1]', 1),
        (b'[["a"]]', 1),
        (b'["a"', 1),
        (b"[" * 100_000, 1),
        (b"~m~9~m~{}\n", 1),
        (b'{"m":"qsd"}', 1),
    ],
)
def test_garbage_is_malformed_with_the_number_of_its_line(path: Path, content: bytes, line: int) -> None:
    path.write_bytes(content)
    with pytest.raises(Malformed, match=rf"^{path}, line {line}: ") as caught:
        list(read(path))
    assert caught.value.sample or line == 5


def test_a_file_that_is_not_there_is_rejected(path: Path) -> None:
    with pytest.raises(Rejected, match=rf"^The recording {path} cannot be read: No such file or directory\.$"):
        list(read(path))


def test_an_empty_capture_holds_nothing(path: Path) -> None:
    path.touch()
    assert list(read(path)) == []


def test_a_list_of_texts_came_in(path: Path) -> None:
    path.write_text(json.dumps(["~m~2~m~{}", "x\ny"]))
    assert [(record.kind, record.text) for record in read(path)] == [("<", "~m~2~m~{}"), ("<", "x\ny")]


STREAMS = {
    "12-aapl-anonymous-2024-with-qsd-error.txt": {"NASDAQ:AAPL": (221.72, "BATS:AAPL", 41960574.0)},
    "13-quotes-index-crypto-stock.txt": {
        "NASDAQ:NDX": (14528.3605, "NASDAQ_DLY:NDX", None),
        "SP:SPX": (4298.87, "SP:SPX", 2109000000.0),
        "BITSTAMP:BTCUSD": (25753.0, "BITSTAMP:BTCUSD", 275.62184705),
        "NASDAQ:AAPL": (180.96, "BATS:AAPL", 48899973.0),
        "NASDAQ:TSLA": (244.4, "BATS:TSLA", 200242371.0),
    },
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_recorded_payloads_of_streams_can_be_played(captures: Path, name: str) -> None:
    sink = played(captures / name, Wanted(frozenset({*STREAMS[name], "NO:ONE"})))
    quotes = {event.symbol: Quote(event.symbol).merged(event.changes) for event in sink.of(QuoteUpdate)}
    assert {symbol: (q.last, q.venue, q.volume) for symbol, q in quotes.items()} == STREAMS[name]
    assert [(event.state, event.reason) for event in sink.of(StreamState)] == [
        ("connecting", ""),
        ("live", f"The recording {name} is played."),
        ("stopped", f"The recording {name} has ended."),
    ]
    assert sink.of(SymbolRefused) == [SymbolRefused("NO:ONE", f"The recording {name} does not hold it.")]


def test_every_recorded_conversation_can_be_read(captures: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    names = [path.name for path in captures.iterdir() if path.suffix == ".txt"]
    names += [f"{name}.json" for name in (
        "09-aapl-1D-five-bars-anonymous", "10-symbol-error-then-series-error", "11-heartbeat-batched-ahead-of-data",
    )]  # fmt: skip
    assert [name for name in names if not list(read(captures / name))] == []
    assert caplog.records == []
