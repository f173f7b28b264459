"""What happens when a browser does not take what it gets, is lost, or is closed."""

import asyncio

import pytest

from marketdata.live.connection import CLOSED_BARS, OUTBOX, OUTBOX_CHARACTERS, Connection
from marketdata.live.door import Door
from marketdata.live.errors import Code
from tests.live.sending import Client, changed


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
