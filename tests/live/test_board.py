"""Updates of the source become whole, numbered states."""

import json
from typing import Any

from infrastructure.tradingview.base import Quote, QuoteUpdate
from marketdata.live.blocks import Line
from marketdata.live.board import CLOSED_BATCH, CLOSED_LINES, Batch, Board
from tests.live.source import bar_update

Shape = list[tuple[str, str, dict[str, Any]]]


def shape(batch: Batch, *names: str) -> Shape:
    """(kind, topic, the named fields) of each closed bar, then of each line."""
    lines = [*(Line(b"c", topic.encode(), json) for topic, _, json in batch.closed), *batch.lines]
    return [
        (kind.decode(), topic.decode(), {name: json.loads(text or b"{}").get(name) for name in names})
        for kind, topic, text in lines
    ]


def quote(symbol: str, received_ms: int, **changes: Any) -> QuoteUpdate:
    return QuoteUpdate(symbol, changes, received_ms)


def test_updates_of_a_symbol_are_merged_into_one_whole_state() -> None:
    board = Board({})
    board.quote(quote("A:B", 1, last=1.0, bid=0.5))
    board.quote(quote("A:B", 2, last=2.0))
    assert shape(board.take(), "seq", "last", "bid", "ask", "ms") == [
        ("q", "A:B", {"seq": 1, "last": 2.0, "bid": 0.5, "ask": None, "ms": 2})
    ]
    assert board.take() == Batch()
    board.quote(quote("A:B", 3, bid=None))
    assert shape(board.take(), "seq", "last", "bid", "ms") == [
        ("q", "A:B", {"seq": 2, "last": 2.0, "bid": None, "ms": 3})
    ]


def test_what_was_stored_before_is_the_state_to_merge_into() -> None:
    board = Board({"A:B": (Quote("A:B", last=1.0, currency="USD"), 5)})
    assert board.take() == Batch()
    board.quote(quote("A:B", 6, last=2.0))
    batch = board.take()
    assert shape(batch, "last", "currency") == [("q", "A:B", {"last": 2.0, "currency": "USD"})]
    assert batch.quotes == {"A:B": batch.lines[0].json}


def test_closed_bars_come_first_and_again_until_they_were_said() -> None:
    board = Board({})
    board.bar(bar_update("A:B", "1m", 1, 1.0, closed=True))
    board.bar(bar_update("A:B", "1m", 2, 2.0, closed=False))
    board.quote(quote("A:B", 1, last=3.0))
    first = board.take()
    assert shape(first, "t", "closed") == [
        ("c", "A:B@1m", {"t": 60_000, "closed": True}),
        ("f", "A:B@1m", {"t": 120_000, "closed": False}),
        ("q", "A:B", {"t": None, "closed": None}),
    ]
    assert first.bars == {"A:B@1m": first.lines[0].json}
    again = board.take()
    assert (again.closed, again.lines) == (first.closed, [])
    board.said()
    assert (board.take(), board.news) == (Batch(), False)


def test_a_bar_stored_late_is_said_but_does_not_replace_the_newer_one() -> None:
    board = Board({})
    board.bar(bar_update("A:B", "1m", 2, 2.0, closed=False))
    newer = board.take().bars["A:B@1m"]
    board.bar(bar_update("A:B", "1m", 1, 1.0, closed=True))
    board.bar(bar_update("A:B", "1m", 1, 0.5, closed=False))
    batch = board.take()
    assert shape(batch, "t") == [("c", "A:B@1m", {"t": 60_000})]
    assert batch.bars == {"A:B@1m": newer}


def test_a_forming_state_that_still_waits_does_not_replace_the_closed_bar() -> None:
    board = Board({})
    board.bar(bar_update("A:B", "1m", 1, 1.0, closed=False))
    board.bar(bar_update("A:B", "1m", 1, 2.0, closed=True))
    batch = board.take()
    assert (shape(batch, "c"), batch.bars) == ([("c", "A:B@1m", {"c": 2.0})], {"A:B@1m": batch.closed[0].json})
    board.bar(bar_update("A:B", "1m", 3, 3.0, closed=False))
    board.bar(bar_update("A:B", "1m", 2, 4.0, closed=True))
    assert shape(board.take(), "t")[-1] == ("f", "A:B@1m", {"t": 180_000})


def test_everything_is_said_again_to_a_redis_that_has_forgotten() -> None:
    board = Board({"A:OLD": (Quote("A:OLD", last=9.0), 1)})
    board.bar(bar_update("A:B", "1m", 1, 1.0, closed=False))
    board.quote(quote("A:B", 1, last=1.0))
    board.take()
    board.quote(quote("A:C", 2, last=2.0))
    batch = board.take_all()
    assert shape(batch, "last", "c") == [
        ("f", "A:B@1m", {"last": None, "c": 1.0}),
        ("q", "A:OLD", {"last": 9.0, "c": None}),
        ("q", "A:B", {"last": 1.0, "c": None}),
        ("q", "A:C", {"last": 2.0, "c": None}),
    ]
    assert (set(batch.quotes), set(batch.bars)) == ({"A:OLD", "A:B", "A:C"}, {"A:B@1m"})


def test_bars_that_are_no_longer_streamed_are_forgotten_with_a_line() -> None:
    board = Board({})
    board.bar(bar_update("A:B", "1m", 1, 1.0, closed=False))
    board.take()
    board.forget(["A:B@1m"])
    batch = board.take()
    assert (batch.lines, batch.gone) == ([Line(b"g", b"A:B@1m", b"")], {"A:B@1m"})
    assert board.take_all() == Batch()


def test_bars_on_their_way_do_not_bring_a_forgotten_topic_back() -> None:
    board = Board({})
    board.bar(bar_update("A:B", "1m", 1, 1.0, closed=False))
    board.take()
    board.forget(["A:B@1m"])
    board.bar(bar_update("A:B", "1m", 1, 2.0, closed=False))
    assert board.take().gone == {"A:B@1m"}
    board.bar(bar_update("A:B", "1m", 1, 3.0, closed=True))
    late = board.take()
    assert ([one.topic for one in late.closed], late.bars) == (["A:B@1m"], {})
    board.said()
    board.expect(["A:B@1m"])
    board.bar(bar_update("A:B", "1m", 2, 4.0, closed=False))
    assert list(board.take().bars) == ["A:B@1m"]


def test_a_quote_waits_for_the_database_until_it_is_saved() -> None:
    board = Board({"A:OLD": (Quote("A:OLD"), 1)})
    board.quote(quote("A:B", 7, last=1.0))
    assert board.take_unsaved() == []  # not merged yet
    board.take()
    unsaved = board.take_unsaved()
    assert unsaved == [(Quote("A:B", last=1.0), 7)]
    assert board.take_unsaved() == []
    board.not_saved(unsaved)
    assert board.take_unsaved() == unsaved


def test_closed_bars_that_redis_does_not_take_are_bounded_and_none_is_said_twice() -> None:
    board = Board({})
    for minute in range(CLOSED_LINES):
        board.bar(bar_update("A:B", "1m", minute, 1.0, closed=True))
    batches = [board.take()]
    for minute in range(CLOSED_LINES, CLOSED_LINES + 3):  # while the batch is on its way
        board.bar(bar_update("A:B", "1m", minute, 1.0, closed=True))
    board.said()
    while board.news:
        batches.append(board.take())
        board.said()
    said = [line for batch in batches for line in shape(batch, "t")]
    assert said == [("c", "A:B@1m", {"t": minute * 60_000}) for minute in range(CLOSED_LINES + 3)]
    assert [(len(batch.closed), batch.lost) for batch in batches][:3] == [(1000, False), (1000, True), (1000, False)]
    assert max(len(batch.closed) for batch in batches) == CLOSED_BATCH


def test_a_loss_is_told_with_the_closed_bars_that_follow_it() -> None:
    board = Board({})
    board.lose()
    board.bar(bar_update("A:B", "1m", 1, 1.0, closed=False))
    told = [board.take().lost]
    board.said()
    for minute in (1, 2):
        board.bar(bar_update("A:B", "1m", minute, 1.0, closed=True))
        told.append(board.take().lost)
        board.said()
    assert told == [False, True, False]


def test_a_bar_that_is_said_again_has_the_same_mark_and_a_correction_another() -> None:
    board = Board({})
    for close in (1.0, 1.0, 2.0):
        board.bar(bar_update("A:B", "1m", 1, close, closed=True))
    marks = [one.mark for one in board.take().closed]
    assert (marks[0] == marks[1], marks[0] == marks[2]) == (True, False)
    assert all(mark.startswith("60000:") for mark in marks)
