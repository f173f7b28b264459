"""What browsers get is made once for all who get the same, and ready for the socket."""

import json
from collections.abc import Generator

import pytest
from websockets.frames import Frame
from websockets.streams import StreamReader

from marketdata.live.frames import Frames, framed
from marketdata.live.latest import Latest


@pytest.fixture
def latest() -> Latest:
    latest = Latest()
    latest.quotes = {"A": '{"s":"A"}', "B": '{"s":"B"}'}
    latest.bars = {"A@1m": '{"t":2}'}
    return latest


@pytest.fixture
def frames(latest: Latest) -> Frames:
    return Frames(latest)


def read(frame: bytes) -> tuple[str, bool]:
    """Text and whether it is a whole message, by the library that most clients are made with."""
    reader = StreamReader()
    reader.feed_data(frame)
    reader.feed_eof()
    parsing: Generator[None, None, Frame] = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    assert reader.buffer == b""
    return bytes(done.value.value.data).decode(), done.value.value.fin


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 200_000])
def test_a_frame_of_any_length_reads_as_its_text(length: int) -> None:
    text = "ü" * (length // 2) + "x" * (length % 2)
    assert len(text.encode()) == length
    assert read(framed(text.encode())) == (text, True)


def test_the_event_and_the_frame_say_the_same(frames: Frames) -> None:
    event, frame = frames.of("update", frozenset({"B", "Z"}), frozenset({"A@1m"}), ('{"t":1}',))
    assert event == {"type": "websocket.send", "text": read(frame)[0]}
    assert json.loads(event["text"]) == {"type": "update", "quotes": [{"s": "B"}], "bars": [{"t": 1}, {"t": 2}]}


def test_those_who_get_the_same_share_one(frames: Frames) -> None:
    one = frames.of("update", frozenset({"A", "B"}), frozenset(), ())
    assert frames.of("update", frozenset({"B", "A"}), frozenset(), ()) is one
    others = [
        frames.of("snapshot", frozenset({"A", "B"}), frozenset(), ()),
        frames.of("update", frozenset({"A"}), frozenset(), ()),
        frames.of("update", frozenset({"A", "B"}), frozenset({"A@1m"}), ()),
        frames.of("update", frozenset({"A", "B"}), frozenset(), ('{"t":1}',)),
    ]
    assert len({other.frame for other in others} | {one.frame}) == 5


def test_who_watches_the_same_or_of_whom_the_same_changed_shares_one_frame(latest: Latest) -> None:
    flush = Frames(latest, {"A"}, set())
    mine = flush.update(frozenset({"A", "B"}), frozenset())
    assert mine is not None and json.loads(mine.event["text"])["quotes"] == [{"s": "A"}]
    assert flush.update(frozenset({"B", "A"}), frozenset()) is mine
    assert flush.update(frozenset({"A"}), frozenset()) is mine


def test_who_watches_nothing_that_changed_gets_no_frame(latest: Latest) -> None:
    flush = Frames(latest, {"A"}, {"B@1m"})
    assert flush.update(frozenset({"B"}), frozenset({"A@1m"})) is None
    assert flush.update(frozenset(), frozenset()) is None
