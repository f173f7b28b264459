"""The browser client alone, in Node, against a server that plays each side of the protocol."""

import re

import pytest

from tests.browser.node import MODULES, Client, Server, running_client
from tests.browser.wishes import ALL, BAR, COIN, FIRST, LATER, LATEST

pytestmark = pytest.mark.timeout(120)


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


@pytest.mark.parametrize(("name", "needs"), [("live-client.js", ["./wishes.js"]), ("wishes.js", [])])
def test_its_modules_know_no_page_and_need_no_others(name: str, needs: list[str]) -> None:
    text = re.sub(r"/\*.*?\*/|//.*", "", (MODULES / name).read_text(), flags=re.DOTALL)
    assert re.findall(r"\b(document|window|location|localStorage|navigator)\b", text) == []
    assert re.findall(r'\bimport\b.*"(.*)"', text) == needs
