"""The browser client alone, in Node, against a server that plays each side of the protocol."""

import re
from collections.abc import Iterator

import pytest

from tests.browser.node import MODULE, Client, Server, running_client

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


def test_unchecked_items_are_asked_for_again_from_the_same_place(server: Server, client: Client) -> None:
    resumed(server, client)
    peer = server.accept()
    peer.greet(LATEST)
    peer.hear()
    refused = [{"item": item, "code": 4013, "reason": "Not now."} for item in (BAR, COIN)]
    peer.say("subscribed", id=2, quotes=[], bars=[], refused=refused, recovered=True)
    assert peer.hear() == {"op": "subscribe", "id": 3, **ALL, "since": LATER}
    peer.say("subscribed", id=3, refused=[], recovered=True, **ALL)
    assert client.next("recovery") == {"recovered": True}
    peer.say("subscribed", id=4, quotes=[], bars=[], refused=refused[1:])
    assert peer.hear() == {"op": "subscribe", "id": 4, "quotes": [COIN], "bars": []}


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
