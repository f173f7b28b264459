"""What one browser gets, in which order, and what happens when it does not take it."""

import asyncio
import json
from typing import Any

import pytest

from marketdata.live.connection import CLOSED_BARS, OUTBOX, OUTBOX_CHARACTERS, Connection
from marketdata.live.door import Door
from marketdata.live.errors import Code
from marketdata.live.frames import Frames
from marketdata.live.latest import Latest


class Client:
    """An ASGI send whose door can be shut, like that of a server whose socket is full."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.lost: Exception | None = None
        self.cut = 0
        self.connection = Connection(self.send, self._cut, 0.0, lambda: 42.0)

    async def send(self, message: dict[str, Any]) -> None:
        await self.open.wait()
        if self.lost:
            raise self.lost
        self.got.append(message)

    def _cut(self) -> None:
        self.cut += 1

    async def read(self) -> list[Any]:
        """Everything that was sent so far, texts decoded."""
        for _ in range(5):
            await asyncio.sleep(0)
        got, self.got = self.got, []
        return [json.loads(one["text"]) if one["type"] == "websocket.send" else one for one in got]


@pytest.fixture
async def client() -> Client:
    return Client()


def changed(
    new_quotes: set[str],
    new_bars: set[str],
    quotes: dict[str, int] | None = None,
    bars: dict[str, int] | None = None,
    log: str = "",
) -> Frames:
    """Of a flush at which these topics are new and these values known."""
    latest = Latest()
    latest.quotes = {topic: str(value) for topic, value in (quotes or {}).items()}
    latest.bars = {topic: str(value) for topic, value in (bars or {}).items()}
    return Frames(latest, new_quotes, new_bars, log)


def frame(type: str, quotes: list[int], bars: list[int]) -> dict[str, Any]:
    return {"type": type, "quotes": quotes, "bars": bars}


async def test_a_snapshot_comes_before_updates_and_holds_what_is_known(client: Client) -> None:
    client.connection.watch(["A", "B"], ["A@1m"])
    client.connection.flush(changed({"A"}, set(), {"A": 1}, {"A@1m": 5}))
    assert await client.read() == [frame("snapshot", [1], [5])]
    client.connection.flush(changed({"B", "Z"}, {"A@1m", "Z@1m"}, {"A": 1, "B": 2}, {"A@1m": 6}))
    assert await client.read() == [frame("update", [2], [6])]


async def test_nothing_is_sent_when_nothing_it_watches_changed(client: Client) -> None:
    client.connection.watch(["A"], [])
    client.connection.flush(changed(set(), set(), {"A": 1}))
    await client.read()
    client.connection.flush(changed({"Z"}, {"Z@1m"}, {"A": 1}))
    assert await client.read() == []


async def test_a_send_that_does_not_wait_is_done_at_once(client: Client) -> None:
    client.connection.post("1", "2")
    assert [one["text"] for one in client.got] == ["1", "2"]


async def test_a_full_socket_merges_what_changes_until_it_takes_again(client: Client) -> None:
    client.connection.watch(["A", "B"], [])
    client.connection.flush(changed(set(), set()))
    client.open.clear()
    for step in range(1, 50):
        client.connection.flush(changed({"A"}, set(), {"A": step}))
    client.connection.flush(changed({"B"}, set(), {"A": 49, "B": 7}))
    assert client.connection.busy_since == 42.0
    client.open.set()
    assert await client.read() == [frame("snapshot", [], []), frame("update", [1], [])]
    assert (client.connection.busy_since, client.connection.due) == (None, True)
    client.connection.flush(changed(set(), set(), {"A": 49, "B": 7}))
    (merged,) = await client.read()
    assert (merged["type"], sorted(merged["quotes"]), merged["bars"]) == ("update", [7, 49], [])


async def test_a_bar_that_a_snapshot_tells_as_closed_does_not_come_again_behind_it(client: Client) -> None:
    client.connection.watch([], ["A@1m"])
    client.connection.flush(changed(set(), set(), bars={"A@1m": 1}))
    await client.read()
    client.connection.closed_bar("A@1m", "2")
    client.connection.watch(["A"], [])
    client.connection.flush(changed(set(), {"A@1m"}, {"A": 5}, {"A@1m": 2}))
    assert await client.read() == [frame("snapshot", [5], [2])]
    client.connection.closed_bar("A@1m", "3")
    client.connection.refresh()
    client.connection.watch([], ["B@1m"])
    client.connection.flush(changed(set(), {"A@1m"}, {"A": 5}, {"A@1m": 4}))
    assert await client.read() == [frame("snapshot", [5], [3, 4])]


async def test_closed_bars_are_kept_in_order_while_forming_ones_are_merged(client: Client) -> None:
    client.connection.watch([], ["A@1m"])
    client.connection.flush(changed(set(), set()))
    await client.read()
    for value in (1, 2, 3):
        client.connection.closed_bar("A@1m", str(value))
    client.connection.flush(changed(set(), {"A@1m"}, bars={"A@1m": 4}))
    assert await client.read() == [frame("update", [], [1, 2, 3, 4])]


async def test_closed_bars_that_wait_go_before_the_newest_in_a_snapshot_too(client: Client) -> None:
    client.connection.watch([], ["A@1m"])
    client.connection.closed_bar("A@1m", "1")
    client.connection.flush(changed(set(), {"A@1m"}, bars={"A@1m": 2}))
    assert await client.read() == [frame("snapshot", [], [1, 2])]


async def test_a_closed_bar_that_is_still_the_newest_is_sent_once(client: Client) -> None:
    client.connection.watch([], ["A@1m"])
    client.connection.flush(changed(set(), set()))
    await client.read()
    client.connection.closed_bar("A@1m", "1")
    client.connection.flush(changed(set(), {"A@1m"}, bars={"A@1m": 1}))
    assert await client.read() == [frame("update", [], [1])]


async def test_nothing_comes_of_what_is_no_longer_watched(client: Client) -> None:
    client.connection.watch(["A", "B"], ["A@1m"])
    client.connection.flush(changed(set(), set()))
    await client.read()
    client.connection.closed_bar("A@1m", "1")
    client.connection.unwatch(["A"], ["A@1m"])
    client.connection.flush(changed({"A", "B"}, {"A@1m"}, {"A": 1, "B": 2}, {"A@1m": 3}))
    assert await client.read() == [frame("update", [2], [])]


async def test_after_a_hole_a_snapshot_of_everything_watched_is_due(client: Client) -> None:
    client.connection.watch(["A", "B"], ["A@1m"])
    client.connection.flush(changed(set(), set()))
    await client.read()
    client.connection.refresh()
    client.connection.flush(changed({"A"}, set(), {"A": 1, "B": 2}, {"A@1m": 3}))
    (snapshot,) = await client.read()
    assert (snapshot["type"], sorted(snapshot["quotes"]), snapshot["bars"]) == ("snapshot", [1, 2], [3])


async def test_a_hole_is_told_once_and_only_to_who_watches_bars(client: Client) -> None:
    client.connection.watch(["A"], [])
    client.connection.flush(changed(set(), set()))
    client.connection.refresh(hole=True)
    client.connection.flush(changed(set(), set()))
    client.connection.watch([], ["A@1m"])
    client.connection.refresh(hole=True)
    assert not client.connection.has_every_closed_bar
    client.connection.flush(changed(set(), set()))
    assert client.connection.has_every_closed_bar
    client.connection.refresh()
    client.connection.flush(changed(set(), set()))
    snapshot = frame("snapshot", [], [])
    assert await client.read() == [snapshot, snapshot, {**snapshot, "recovered": False}, snapshot]


async def test_a_full_socket_is_told_no_position_before_the_closed_bars_that_wait_for_it(client: Client) -> None:
    client.connection.watch([], ["A@1m"])
    client.open.clear()
    client.connection.flush(changed(set(), set(), log=',"log":1'))
    client.connection.closed_bar("A@1m", "1")
    client.connection.flush(changed(set(), set(), log=',"log":2'))
    assert not client.connection.has_every_closed_bar
    client.open.set()
    assert await client.read() == [{**frame("snapshot", [], []), "log": 1}]
    client.connection.flush(changed(set(), set(), log=',"log":3'))
    assert client.connection.has_every_closed_bar
    assert await client.read() == [{**frame("update", [], [1]), "log": 3}]


async def test_a_replay_takes_the_place_of_the_closed_bars_of_its_topics_that_wait(client: Client) -> None:
    client.connection.watch([], ["A@1m", "B@1m"])
    for topic, text in (("A@1m", "1"), ("B@1m", "2"), ("A@1m", "3")):
        client.connection.closed_bar(topic, text)
    client.connection.replay(["A@1m"], [("A@1m", "0"), ("A@1m", "1"), ("A@1m", "3")])
    client.connection.flush(changed(set(), set()))
    assert await client.read() == [frame("snapshot", [], [2, 0, 1, 3])]


async def test_a_ready_frame_goes_straight_to_the_socket_while_it_takes_any(client: Client) -> None:
    written: list[bytes] = []
    door = Door(written.append, lambda: 0)
    connection = Connection(client.send, client._cut, 0.0, lambda: 42.0, door)
    connection.watch(["A"], [])
    connection.post("7")
    door.is_open = True
    connection.flush(changed(set(), set(), {"A": 1}))
    connection.post("8")
    door.shut()
    connection.flush(changed({"A"}, set(), {"A": 3}))
    assert [json.loads(one[2:]) for one in written] == [frame("snapshot", [1], []), 8]
    assert await client.read() == [7, frame("update", [3], [])]


async def test_messages_wait_in_order_behind_a_send_that_waits(client: Client) -> None:
    client.open.clear()
    client.connection.post("1", "2")
    client.connection.post("3")
    client.open.set()
    assert await client.read() == [1, 2, 3]


async def test_closing_says_why_and_then_says_nothing_more(client: Client) -> None:
    client.connection.watch(["A"], [])
    client.connection.close(Code.NO_HEARTBEAT, "No heartbeat.")
    client.connection.close(Code.RESTARTING, "Twice.")
    client.connection.post("1")
    client.connection.flush(changed({"A"}, set(), {"A": 1}))
    assert await client.read() == [
        {"type": "error", "code": 4101, "message": "No heartbeat."},
        {"type": "bye", "code": 4101, "reason": "No heartbeat.", "reconnect": True},
        {"type": "websocket.close", "code": 4101, "reason": "No heartbeat."},
    ]


@pytest.mark.parametrize("overflow", ["closed bars", "messages"])
async def test_who_lets_too_much_pile_up_is_closed_as_too_slow(client: Client, overflow: str) -> None:
    client.open.clear()
    client.connection.watch([], ["A@1m"])
    client.connection.flush(changed(set(), set()))
    for _ in range(CLOSED_BARS if overflow == "closed bars" else OUTBOX):
        client.connection.closed_bar("A@1m", "1") if overflow == "closed bars" else client.connection.post("1")
    assert not client.connection.over
    client.connection.closed_bar("A@1m", "1") if overflow == "closed bars" else client.connection.post("1")
    assert client.connection.over
    client.open.set()
    for _ in range(OUTBOX * 3):
        await asyncio.sleep(0)
    assert (await client.read())[-1]["code"] == Code.TOO_SLOW


async def test_who_lets_large_messages_pile_up_is_closed_as_too_slow(client: Client) -> None:
    client.open.clear()
    for _ in range(4):
        client.connection.post("1" * (OUTBOX_CHARACTERS // 3))
    assert not client.connection.over
    client.connection.post("1" * (OUTBOX_CHARACTERS // 3))
    assert client.connection.over


async def test_who_takes_a_large_snapshot_slowly_is_not_one_who_takes_nothing(client: Client) -> None:
    unsent = [1000, 900, 900, 800]
    door = Door(lambda _: None, lambda: unsent.pop(0))
    connection = Connection(client.send, client._cut, 0.0, lambda: 42.0, door)
    client.open.clear()
    connection.post("1")
    seen = []
    for now in (43.0, 44.0, 45.0, 46.0):
        connection.look(now)
        seen.append(connection.busy_since)
    assert seen == [42.0, 44.0, 44.0, 46.0]
    client.open.set()
    await client.read()
    assert connection.busy_since is None


async def test_a_door_that_raises_ends_its_client(client: Client) -> None:
    def broken(_: bytes) -> None:
        raise RuntimeError("the handler is closed")

    door = Door(broken, lambda: 0)
    door.is_open = True
    connection = Connection(client.send, client._cut, 0.0, lambda: 42.0, door)
    connection.watch(["A"], [])
    connection.flush(changed(set(), set(), {"A": 1}))
    assert (connection.over, client.cut) == (True, 1)


async def test_a_lost_client_ends_quietly(client: Client) -> None:
    client.lost = OSError("gone")
    client.connection.post("1", "2")
    assert (client.connection.over, client.got, client.cut) == (True, [], 1)


async def test_a_client_lost_during_a_send_that_waited_ends_quietly(client: Client) -> None:
    client.open.clear()
    client.connection.post("1", "2")
    client.lost = OSError("gone")
    client.open.set()
    assert (await client.read(), client.connection.over) == ([], True)


async def test_cutting_off_ends_the_waiting_send_and_the_consumer(client: Client) -> None:
    client.open.clear()
    client.connection.post("1")
    client.connection.cut_off("test")
    client.open.set()
    assert (await client.read(), client.connection.over, client.cut) == ([], True, 1)
