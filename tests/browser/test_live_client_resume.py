"""The browser client alone, in Node: what it asks for again, from which place, and whether bars were missed."""

import pytest

from tests.browser.node import Client, Peer, Server
from tests.browser.wishes import ALL, BAR, COIN, FIRST, LATER, LATEST

pytestmark = pytest.mark.timeout(120)


def resumed(server: Server, client: Client) -> None:
    """A first connection that watches and has come to LATER, and its end."""
    client.call("subscribe", ALL)
    client.call("connect")
    peer = server.accept()
    peer.greet(FIRST)
    assert peer.hear() == {"op": "subscribe", "id": 1, **ALL}
    peer.say("subscribed", id=1, refused=[], **ALL)
    peer.say("snapshot", quotes=[], bars=[], log=FIRST)
    peer.say("update", quotes=[], bars=[], log=LATER)
    peer.close(1012, "again soon")
    assert client.next("connection", state="waiting") == {"state": "waiting", "reason": "again soon", "retryInMs": 250}


def test_a_reconnect_resumes_from_where_the_last_connection_ended(server: Server, client: Client) -> None:
    resumed(server, client)
    peer = server.accept()
    peer.greet(LATEST)
    assert peer.hear() == {"op": "subscribe", "id": 2, **ALL, "since": LATER}
    peer.say("ping", n=1, log=LATEST)  # what was missed has not come yet
    peer.hear()
    peer.close()
    peer = server.accept()
    peer.greet(LATEST)
    assert peer.hear() == {"op": "subscribe", "id": 3, **ALL, "since": LATER}
    peer.say("subscribed", id=3, refused=[], recovered=True, **ALL)
    peer.say("snapshot", quotes=[], bars=[{"t": 1}], log=LATEST)
    assert client.next("recovery") == {"recovered": True}
    assert client.next("bar") == {"t": 1, "snapshot": True}
    peer.close()
    peer = server.accept()
    peer.greet(LATEST)
    assert peer.hear()["since"] == LATEST


@pytest.mark.parametrize(("said", "told"), [({"recovered": False}, False), ({}, None)])
def test_what_is_not_recovered_is_said(server: Server, client: Client, said: dict[str, bool], told: object) -> None:
    resumed(server, client)
    peer = server.accept()
    peer.greet(LATEST)
    peer.hear()
    peer.say("subscribed", id=2, refused=[], **ALL, **said)
    assert client.next("recovery") == {"recovered": told}
    peer.close()
    peer = server.accept()
    peer.greet()
    assert peer.hear()["since"] == LATEST  # from the greeting that went before


def test_a_server_without_a_log_is_asked_nothing_of_it(server: Server, client: Client) -> None:
    client.call("subscribe", ALL)
    client.call("connect")
    for number, peer in enumerate((server.accept(), None)):
        peer = peer or server.accept()
        peer.greet()
        assert peer.hear() == {"op": "subscribe", "id": number + 1, **ALL}
        peer.say("subscribed", id=number + 1, refused=[], **ALL)
        if number == 0:
            peer.close()
    assert client.next("recovery") == {"recovered": None}


def test_a_server_that_lost_its_place_says_so(server: Server, client: Client) -> None:
    client.call("connect")
    peer = server.accept()
    peer.greet()
    peer.say("snapshot", quotes=[], bars=[{"t": 5}], recovered=False)
    assert client.next("bar") == {"t": 5, "snapshot": True}
    assert client.events[-2] == {"event": "recovery", "detail": {"recovered": False}}


def unchecked(*items: str) -> list[dict[str, object]]:
    return [{"item": item, "code": 4013, "reason": "Not now."} for item in items]


def test_unchecked_items_are_asked_for_again_from_the_same_place(server: Server, client: Client) -> None:
    resumed(server, client)
    peer = server.accept()
    peer.greet(LATEST)
    peer.hear()
    peer.say("subscribed", id=2, quotes=[], bars=[], refused=unchecked(BAR, COIN), recovered=True)
    assert peer.hear() == {"op": "subscribe", "id": 3, **ALL, "since": LATER}
    peer.say("subscribed", id=3, refused=[], recovered=True, **ALL)
    assert client.next("recovery") == {"recovered": True}
    peer.say("subscribed", id=4, quotes=[], bars=[], refused=unchecked(COIN))
    assert peer.hear() == {"op": "subscribe", "id": 4, "quotes": [COIN], "bars": []}


def test_unchecked_items_of_several_answers_are_asked_for_together(server: Server, client: Client) -> None:
    other, gone, granted = "BINANCE:ETHUSDT", "X:GONE", "X:GRANTED"
    client.call("connect")
    peer = server.accept()
    peer.greet()
    for method, items in (
        ("subscribe", {"quotes": [COIN, gone, granted]}),
        ("subscribe", {"bars": [BAR]}),
        ("subscribe", {"quotes": [other]}),
        ("unsubscribe", {"quotes": [gone]}),
    ):
        client.call(method, items)
        peer.hear()
    peer.say("subscribed", id=1, quotes=[], bars=[], refused=unchecked(COIN, gone, granted))
    peer.say("subscribed", id=2, quotes=[], bars=[], refused=unchecked(BAR))
    peer.say("subscribed", id=3, quotes=[other, granted], bars=[], refused=[])
    assert peer.hear() == {"op": "subscribe", "id": 5, **ALL}
    peer.say("subscribed", id=5, quotes=[other, granted], bars=[], refused=unchecked(COIN))
    peer.close()
    peer = server.accept()
    peer.greet()
    assert peer.hear() == {"op": "subscribe", "id": 6, "quotes": [COIN, granted, other], "bars": [BAR]}
    peer.say("subscribed", id=6, quotes=[], bars=[BAR], refused=unchecked(granted))
    assert peer.hear() == {"op": "subscribe", "id": 7, "quotes": [granted], "bars": []}


def test_a_long_wish_is_split_and_the_place_goes_with_the_bars(server: Server, client: Client) -> None:
    quotes = [f"TEST:SYM{n:04}" for n in range(1100)]
    client.call("subscribe", {"quotes": quotes, "bars": [BAR]})
    client.call("connect")
    peer = server.accept()
    peer.greet(FIRST)
    messages = [peer.hear() for _ in range(3)]
    assert [(one["id"], len(one["quotes"]), one["bars"]) for one in messages] == [
        (1, 499, [BAR]), (2, 500, []), (3, 101, []),
    ]  # fmt: skip
    assert [item for one in messages for item in one["quotes"]] == quotes
    peer.close()
    peer = server.accept()
    peer.greet(FIRST)
    assert [peer.hear().get("since") for _ in range(3)] == [FIRST, None, None]


MANY = [f"TEST:SYM{n:04}@1m" for n in range(600)]


def resumed_in_parts(server: Server, client: Client) -> Peer:
    """A second connection, which has said both its parts, from LATER."""
    client.call("subscribe", {"bars": MANY})
    client.call("connect")
    peer = server.accept()
    peer.greet(FIRST)
    for id in (1, 2):
        assert peer.hear()["id"] == id
        peer.say("subscribed", id=id, quotes=[], bars=MANY, refused=[])
    peer.say("snapshot", quotes=[], bars=[], log=LATER)
    peer.close()
    peer = server.accept()
    peer.greet(LATEST)
    assert [hear_part(peer) for _ in range(2)] == [(3, MANY[:500], LATER), (4, MANY[500:], LATER)]
    return peer


def hear_part(peer: Peer) -> tuple[int, list[str], object]:
    message = peer.hear()
    return message["id"], message["bars"], message["since"]


def answer_part(peer: Peer, id: int, recovered: bool, refused: tuple[str, ...] = ()) -> None:
    peer.say("subscribed", id=id, quotes=[], bars=[], refused=unchecked(*refused), recovered=recovered)


@pytest.mark.parametrize(("first", "second", "told"), [(True, True, True), (True, False, False), (False, True, False)])
def test_parts_have_recovered_if_each_has(
    server: Server, client: Client, first: bool, second: bool, told: bool
) -> None:
    peer = resumed_in_parts(server, client)
    answer_part(peer, 3, first)
    peer.say("snapshot", quotes=[], bars=[{"t": 1}], log=LATEST)
    answer_part(peer, 4, second)
    peer.say("snapshot", quotes=[], bars=[{"t": 2}], log=LATEST)
    client.next("bar", t=2)
    assert [one["detail"] for one in client.events if one["event"] == "recovery"] == [{"recovered": told}]
    peer.close()
    peer = server.accept()
    peer.greet()
    assert [hear_part(peer)[2] for _ in range(2)] == [LATEST, LATEST]


def test_a_connection_lost_between_the_parts_resumes_both_from_the_old_place(server: Server, client: Client) -> None:
    peer = resumed_in_parts(server, client)
    answer_part(peer, 3, True)
    peer.say("snapshot", quotes=[], bars=[{"t": 1}], log=LATEST)
    client.next("bar", t=1)
    peer.close()
    peer = server.accept()
    peer.greet(LATEST)
    assert [hear_part(peer)[::2] for _ in range(2)] == [(5, LATER), (6, LATER)]
    answer_part(peer, 6, True)
    answer_part(peer, 5, True)
    client.next("subscribed", id=5)
    assert [one["detail"] for one in client.events if one["event"] == "recovery"] == [{"recovered": True}]


def test_a_part_that_could_not_be_checked_is_resumed_with_the_others(server: Server, client: Client) -> None:
    peer = resumed_in_parts(server, client)
    answer_part(peer, 3, True, (MANY[0],))
    answer_part(peer, 4, False)
    assert [hear_part(peer)[::2] for _ in range(2)] == [(5, LATER), (6, LATER)]
    answer_part(peer, 3, False)  # of what was asked before
    answer_part(peer, 5, True)
    answer_part(peer, 6, True)
    client.next("subscribed", id=6)
    assert [one["detail"] for one in client.events if one["event"] == "recovery"] == [{"recovered": True}]


def test_a_place_lost_between_the_parts_is_not_recovered(server: Server, client: Client) -> None:
    peer = resumed_in_parts(server, client)
    peer.say("snapshot", quotes=[], bars=[], recovered=False)  # of nothing: no part is watched yet
    answer_part(peer, 3, True)
    peer.say("snapshot", quotes=[], bars=[], recovered=False)
    answer_part(peer, 4, True)
    assert client.next("recovery") == {"recovered": False}


def test_a_part_that_is_refused_whole_is_not_recovered(server: Server, client: Client) -> None:
    peer = resumed_in_parts(server, client)
    peer.say("error", id=3, code=4012, message="too many.")
    answer_part(peer, 4, True)
    assert client.next("recovery") == {"recovered": None}


@pytest.mark.slow
def test_parts_that_have_to_wait_for_their_turn_are_part_of_the_resumption(server: Server, client: Client) -> None:
    bars = [f"TEST:SYM{n:05}@1m" for n in range(10_200)]
    client.call("subscribe", {"bars": bars})
    client.call("connect")
    peer = server.accept()
    peer.greet(FIRST)
    peer.hear()
    peer.close()
    peer = server.accept()
    peer.greet(LATEST)
    asked: list[str] = []
    while len(asked) < len(bars):
        id, some, since = hear_part(peer)
        assert since == FIRST
        asked += some
        peer.say("subscribed", id=id, quotes=[], bars=[], refused=[], recovered=True)
    assert asked == bars
    client.next("subscribed", id=id)
    client.call("now")
    client.next("result")
    told = [one["event"] for one in client.events if one["event"] in ("subscribed", "recovery")]
    assert told == [*["subscribed"] * 20, "recovery", "subscribed"]
