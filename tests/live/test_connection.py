"""What one browser gets, and in which order."""

import json

from marketdata.live.connection import Connection
from marketdata.live.door import Door
from tests.live.sending import Client, changed, frame


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
