"""Blocks of the feed, and what a hub makes of them."""

from infrastructure.bars import Bar
from infrastructure.intervals import INTERVALS
from marketdata.live import blocks
from marketdata.live.blocks import Line
from marketdata.live.closed_log import Logged
from marketdata.live.latest import Changes, Latest
from marketdata.live.protocol import encode, encode_bar
from marketdata.services.feed_report import Feed


def bar(minute: int, closed: bool = False) -> bytes:
    return encode_bar("A:B", INTERVALS["1m"], 1, Bar(minute * 60_000, 1, 2, 0, 1, 5), closed, (minute + 1) * 60_000)


def logged(*bars: bytes) -> list[Line]:
    """As Redis adds them."""
    return [Line(b"l", b"x-1", b""), *(Line(b"c", b"A:B@1m", b"7-0 " + json) for json in bars)]


def test_a_block_survives_the_wire() -> None:
    lines = [Line(b"q", b"A:B", b'{"s":"A:B","description":"a|b\\nc"}'), Line(b"s", b"", b"{}")]
    assert list(blocks.unpack(blocks.pack(7, lines))) == [Line(b"e", b"7", b""), *lines]


def test_lines_of_another_format_are_left_out() -> None:
    assert list(blocks.unpack(b"e|1|\nnonsense\nz|a|b")) == [Line(b"e", b"1", b""), Line(b"z", b"a", b"b")]


def test_the_newest_quote_of_a_block_wins_and_each_change_is_named() -> None:
    latest = Latest()
    block = blocks.pack(1, [Line(b"q", b"A:B", b"1"), Line(b"q", b"A:C", b"2"), Line(b"q", b"A:B", b"3")])
    assert latest.apply(block, 0.0) == Changes(quotes=["A:B", "A:C", "A:B"])
    assert latest.quotes == {"A:B": "3", "A:C": "2"}


def test_a_closed_bar_is_told_in_order_and_replaces_the_forming_one() -> None:
    latest = Latest()
    latest.apply(blocks.pack(1, [Line(b"f", b"A:B@1m", bar(1))]), 0.0)
    changes = latest.apply(blocks.pack(1, logged(bar(1, closed=True))), 0.1)
    assert changes == Changes(closed=[Logged("7-0", "A:B@1m", bar(1, closed=True).decode())], log_epoch="x-1")
    assert latest.bars == {"A:B@1m": bar(1, closed=True).decode()}


def test_a_bar_that_closed_late_does_not_hide_its_successor() -> None:
    latest = Latest()
    latest.apply(blocks.pack(1, [Line(b"f", b"A:B@1m", bar(2)), *logged(bar(1, closed=True))]), 0.0)
    assert latest.bars == {"A:B@1m": bar(2).decode()}


def test_a_bar_that_is_no_longer_streamed_is_forgotten() -> None:
    latest = Latest()
    gone = Line(b"g", b"A:B@1m", b"")
    latest.apply(blocks.pack(1, [Line(b"f", b"A:B@1m", bar(2)), gone, *logged(bar(1, closed=True))]), 0.0)
    assert latest.bars == {}


def test_the_state_of_the_feed_is_read() -> None:
    feed = Feed("stale", "Silent.", 1, 2, fence=3)
    assert Latest().apply(blocks.pack(3, [Line(b"s", b"", encode(feed).encode())]), 0.0) == Changes(feed=feed)


def test_a_replaced_leader_is_ignored_until_its_successor_has_been_silent_for_long() -> None:
    latest = Latest()
    latest.apply(blocks.pack(5, [Line(b"q", b"A:B", b"new")]), 100.0)
    assert latest.apply(blocks.pack(4, [Line(b"q", b"A:B", b"old")]), 109.0) == Changes()
    assert latest.quotes == {"A:B": "new"}
    late = latest.apply(blocks.pack(4, [Line(b"q", b"A:B", b"old"), *logged(bar(1, closed=True))]), 109.5)
    assert late == Changes(closed=[Logged("7-0", "A:B@1m", bar(1, closed=True).decode())], log_epoch="x-1")
    assert latest.quotes == {"A:B": "new"}
    assert latest.apply(blocks.pack(4, [Line(b"q", b"A:B", b"old")]), 110.0) == Changes(["A:B"], new_leader=True)


def test_the_first_leader_that_is_heard_is_no_change_of_leader_the_next_is() -> None:
    latest = Latest()
    told = [latest.apply(blocks.pack(fence, []), 0.0).new_leader for fence in (3, 3, 4, 4)]
    assert told == [False, False, True, False]


def test_stored_quotes_never_replace_what_came_from_the_feed() -> None:
    latest = Latest()
    latest.load({"A:B": b"redis"}, {"A:B@1m": b"bar"})
    latest.load_stored({"A:B": b"stored", "A:C": b"stored"})
    assert (latest.quotes, latest.bars) == ({"A:B": "redis", "A:C": "stored"}, {"A:B@1m": "bar"})
