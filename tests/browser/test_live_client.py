"""The browser client alone, in Node, against a server that plays each side of the protocol."""

import re
from collections.abc import Iterator

import pytest

from tests.browser.node import MODULE, Client, Peer, Server, running_client

pytestmark = pytest.mark.timeout(120)

COIN, BAR = "BINANCE:BTCUSDT", "BINANCE:BTCUSDT@1m"
FIRST = {"epoch": "a", "offset": "10-0"}
LATER = {"epoch": "a", "offset": "20-0"}
LATEST = {"epoch": "a", "offset": "30-0"}
ALL = {"quotes": [COIN], "bars": [BAR]}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with running_client(server.url) as client:
        yield client


def test_the_greeting_is_answered_with_all_that_is_wanted(server: Server, client: Client) -> None:
    client.call("subscribe", {"quotes": [COIN]})
    client.call("connect")
    client.call("connect")  # once is enough
    peer = server.accept()
    client.call("subscribe", {"bars": [BAR]})
    client.call("now")
    assert abs(client.next("result")["result"] - 4_000_000_000_000) > 1e12  # not greeted: its own clock
    peer.greet()
    assert peer.hear() == {"op": "subscribe", "id": 1, **ALL}
    client.next("feed")
    assert [one["event"] for one in client.events if one["event"] != "result"] == [
        "loaded", "connection", "connection", "hello", "feed",
    ]  # fmt: skip
    assert client.states() == ["connecting", "open"]
    client.call("now")
    assert abs(client.next("result")["result"] - 4_000_000_000_000) < 60_000
    client.call("unsubscribe", {"quotes": [COIN]})
    assert peer.hear() == {"op": "unsubscribe", "id": 2, "quotes": [COIN], "bars": []}


def test_values_come_one_by_one_and_pings_are_answered(server: Server, client: Client) -> None:
    client.call("connect")
    peer = server.accept()
    peer.greet()
    peer.say("something new", quotes=[{"s": "X:Y"}])
    peer.say("snapshot", quotes=[{"s": COIN, "last": 1}], bars=[])
    peer.say("update", quotes=[{"s": COIN, "last": 2}], bars=[{"s": COIN, "i": "1m", "closed": True}])
    peer.say("status", feed={"state": "stale"})
    peer.say("error", code=4000, message="no JSON.")
    peer.say("subscribed", id=1, quotes=[], bars=[], refused=[{"item": "X:Z", "code": 4010, "reason": "No."}])
    peer.say("ping", n=7)
    assert peer.hear() == {"op": "pong", "n": 7}
    assert client.next("refused") == {"item": "X:Z", "code": 4010, "reason": "No."}
    told = [(one["event"], one["detail"]) for one in client.events[4:]]
    assert told == [
        ("feed", {"state": "live"}),
        ("quote", {"s": COIN, "last": 1, "snapshot": True}),
        ("quote", {"s": COIN, "last": 2, "snapshot": False}),
        ("bar", {"s": COIN, "i": "1m", "closed": True, "snapshot": False}),
        ("feed", {"state": "stale"}),
        ("problem", {"type": "error", "code": 4000, "message": "no JSON."}),
        (
            "subscribed",
            {"type": "subscribed", "id": 1, "quotes": [], "bars": [], "refused": [client.events[-1]["detail"]]},
        ),
        ("refused", {"item": "X:Z", "code": 4010, "reason": "No."}),
    ]


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
    client.call("subscribe", {"quotes": [COIN, gone, granted]})
    client.call("subscribe", {"bars": [BAR]})
    client.call("subscribe", {"quotes": [other]})
    client.call("unsubscribe", {"quotes": [gone]})
    for _ in range(4):
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


@pytest.mark.parametrize("says_bye", [True, False])
def test_a_final_refusal_is_not_tried_again_by_itself(server: Server, client: Client, says_bye: bool) -> None:
    client.call("connect")
    peer = server.accept()
    if says_bye:
        peer.say("bye", code=4504, reason="ended", reconnect=False)
        peer.close(1000, "ended")
    else:
        peer.close(4500, "ended")
    assert client.next("connection", state="closed") == {"state": "closed", "reason": "ended"}
    client.call("connect")
    server.accept().greet()
    client.next("connection", state="open")
    assert client.states() == ["connecting", "closed", "connecting", "open"]


@pytest.mark.parametrize(
    ("code", "says", "state"),
    [
        (4501, {"reconnect": True}, "waiting"),
        (4105, {"reconnect": False}, "closed"),
        (4105, {}, "waiting"),
        (4501, {}, "closed"),
        (4999, {}, "closed"),
        (4499, {}, "waiting"),
    ],
)
def test_the_server_says_whether_to_reconnect_and_else_the_range_of_its_code(
    server: Server, client: Client, code: int, says: dict[str, bool], state: str
) -> None:
    client.call("connect")
    peer = server.accept()
    peer.say("bye", code=code, reason="full", **says)
    peer.close(code, "full")
    assert client.next("connection", reason="full")["state"] == state


def test_a_final_goodbye_counts_though_the_connection_falls_silent(server: Server, client: Client) -> None:
    client.call("connect")
    peer = server.accept()
    peer.greet(heartbeat_s=0.04)
    peer.say("bye", code=4504, reason="ended", reconnect=False)
    assert client.next("connection", reason="the server is silent")["state"] == "closed"


def test_silence_and_nonsense_end_a_connection_and_another_is_made(server: Server, client: Client) -> None:
    client.call("connect")
    server.accept().greet(heartbeat_s=0.04)
    assert client.next("connection", state="waiting")["reason"] == "the server is silent"
    peer = server.accept()
    peer.say_text("{")
    waiting = client.next("connection", state="waiting")
    assert waiting == {
        "state": "waiting", "reason": "the server sent something that is no JSON", "retryInMs": 500,
    }  # fmt: skip  # twice the first delay
    client.call("connect")  # at once
    server.accept().greet()
    client.next("connection", state="open")


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


def hear_part(peer: Peer) -> tuple[object, ...]:
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


@pytest.mark.parametrize(
    ("close_at", "told"),
    [
        (("connection", "connecting"), ["connecting"]),
        (("connection", "open"), ["connecting", "open"]),
        (("hello", None), ["connecting", "open", "hello"]),
        (("feed", "live"), ["connecting", "open", "hello", "live"]),
    ],
)
def test_a_listener_may_close_the_client_at_any_event(
    server: Server, close_at: tuple[str, str | None], told: list[str]
) -> None:
    with running_client(server.url, closeAt=close_at) as client:
        client.call("subscribe", ALL)
        client.call("connect")
        if len(told) > 1:
            peer = server.accept()
            peer.greet(FIRST)
            peer.wait_closed()
        client.next("connection", state="closed")
        assert [one["detail"].get("state", one["event"]) for one in client.events[1:]] == [*told, "closed"]
        client.call("connect")
        peer = server.accept()  # the only one: none was opened before, or it is closed
        peer.greet(FIRST)
        client.next("feed")
        assert peer.hear()["id"] == 1


def test_what_a_listener_missed_by_closing_comes_with_the_next_connection(server: Server) -> None:
    with running_client(server.url, closeAt=["bar", None]) as client:
        client.call("subscribe", ALL)
        client.call("connect")
        peer = server.accept()
        peer.greet(FIRST)
        peer.hear()
        peer.say("subscribed", id=1, refused=[], **ALL)
        peer.say("update", quotes=[], bars=[{"t": 1}, {"t": 2}], log=LATER)
        client.next("connection", state="closed")
        client.call("connect")
        assert client.next("connection")["state"] == "connecting"  # and not the second bar
        assert client.events[-3:] == [
            {"event": "bar", "detail": {"t": 1, "snapshot": False}},
            {"event": "connection", "detail": {"state": "closed", "reason": ""}},
            {"event": "connection", "detail": {"state": "connecting", "reason": ""}},
        ]
        peer = server.accept()
        peer.greet(LATEST)
        assert peer.hear()["since"] == FIRST


def test_credentials_are_the_first_message(server: Server) -> None:
    with running_client(server.url, key="k1") as client:
        client.call("subscribe", ALL)
        client.call("connect")
        peer = server.accept()
        assert peer.hear() == {"op": "auth", "key": "k1"}
        peer.greet()
        assert peer.hear() == {"op": "subscribe", "id": 1, **ALL}


def test_where_no_credentials_are_to_be_had_it_is_tried_again(server: Server) -> None:
    with running_client(server.url, refuse="no tickets today") as client:
        client.call("connect")
        assert client.next("connection", state="waiting")["reason"] == "no tickets today"
        assert client.next("connection", state="waiting")["retryInMs"] == 500


def test_the_module_knows_no_page_and_needs_no_other() -> None:
    text = re.sub(r"/\*.*?\*/|//.*", "", MODULE.read_text(), flags=re.DOTALL)
    assert re.findall(r"\b(document|window|location|localStorage|navigator|import)\b", text) == []
