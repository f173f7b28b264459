"""A web process's copy of the log: which browsers it can bring up to date."""

from infrastructure.persistence.closed_log import LogEntry, LogPage
from marketdata.live.closed_log import ENTRIES, ClosedLog, Logged, whole_log
from marketdata.live.protocol import Position

MOST = 1000


def log(*offsets: str, epoch: str = "x") -> ClosedLog:
    result = ClosedLog()
    result.begin(epoch, "5-0")
    result.add(Logged(offset, f"A:{offset[0]}@1m", offset) for offset in offsets)
    return result


def page(epoch: str, first: str, *offsets: str) -> LogPage:
    return LogPage(epoch, first, [LogEntry(offset, b"c", b"A:B@1m", offset.encode()) for offset in offsets])


def test_the_position_is_that_of_the_newest_bar_and_is_ready_as_a_field() -> None:
    assert ClosedLog().position is None
    assert ClosedLog().json == ""
    assert log("6-0", "6-1").position == Position("x", "6-1")
    assert log("6-0", "6-1").json == ',"log":{"epoch":"x","offset":"6-1"}'


def test_bars_after_a_position_of_the_topics_asked_for_in_order() -> None:
    bars = log("6-0", "7-0", "6-9", "7-9", "10-0", "8-0")
    assert [text for _, text in bars.since(Position("x", "6-0"), ["A:7@1m", "A:6@1m", "A:1@1m"], MOST) or ()] == [
        "7-0", "7-9", "10-0",
    ]  # fmt: skip
    assert bars.since(Position("x", "5-0"), ["A:7@1m"], MOST) == [("A:7@1m", "7-0"), ("A:7@1m", "7-9")]
    assert bars.since(Position("x", "10-0"), ["A:7@1m"], MOST) == []
    assert bars.since(Position("x", "99-0"), ["A:7@1m"], MOST) == []  # it was told by a process that is ahead


def test_what_cannot_be_said_is_not_guessed() -> None:
    bars = log("6-0", "7-0")
    for position in (Position("y", "6-0"), Position("x", "4-9"), Position("x", "now"), Position("x", "9" * 5000)):
        assert bars.since(position, ["A:6@1m"], MOST) is None
    assert bars.since(Position("x", "5-0"), ["A:6@1m", "A:7@1m"], 1) is None
    assert ClosedLog().since(Position("x", "5-0"), [], MOST) is None


def test_a_bar_that_came_before_is_not_new() -> None:
    bars = log("6-0", "7-0")
    assert bars.add([Logged("7-0", "A:7@1m", "7-0"), Logged("7-1", "A:7@1m", "7-1")]) == [
        Logged("7-1", "A:7@1m", "7-1")
    ]


def test_the_oldest_bars_go_and_with_them_the_positions_before_them() -> None:
    bars = log()
    bars.add(Logged(f"{n}-0", "A:B@1m", str(n)) for n in range(6, 6 + ENTRIES + 10))
    assert bars.since(Position("x", "14-0"), ["A:B@1m"], 10**6) is None
    kept = bars.since(Position("x", "15-0"), ["A:B@1m"], 10**6)
    assert kept is not None
    assert (len(kept), kept[0]) == (ENTRIES, ("A:B@1m", "16"))


def test_a_page_follows_where_its_log_is_the_same_and_still_reaches_back() -> None:
    bars = log("6-0")
    assert bars.follows(page("x", "6-0"))
    assert not bars.follows(page("y", "6-0"))
    assert not bars.follows(page("x", "6-1"))
    assert not ClosedLog().follows(page("x", "6-0"))


async def test_a_log_is_read_page_by_page_and_again_where_it_was_begun_anew_meanwhile() -> None:
    pages = [page("x", "1-0", "1-0", "2-0"), page("y", "7-0"), page("y", "7-0", "7-0", "8-0"), page("y", "7-0")]
    asked: list[str | None] = []

    async def read(after: str | None) -> LogPage:
        asked.append(after)
        return pages.pop(0)

    bars = await whole_log(read)
    assert asked == [None, "2-0", None, "8-0"]
    assert bars.position == Position("y", "8-0")
    assert bars.since(Position("y", "7-0"), ["A:B@1m"], MOST) == [("A:B@1m", "8-0")]
