"""The browser client alone, in Node: however often it is called, the server hears few messages and the last wish."""

import json
import subprocess
import time
from typing import Any

import pytest

from marketdata.live.admission import Allowance
from marketdata.live.consumers import MESSAGES_BURST, MESSAGES_PER_S
from tests.browser.node import DEADLINE_S, HERE, Client, Peer, Server, modules, node
from tests.browser.wishes import ALL, BAR, COIN, FIRST

pytestmark = pytest.mark.timeout(120)

NAMES = [f"TEST:SYM{n:04}" for n in range(500)]
HEARTBEAT_S = 25
TEN_MINUTES_S = 600


def connected(server: Server, client: Client) -> Peer:
    """It watches nothing yet."""
    client.call("connect")
    peer = server.accept()
    peer.greet()
    client.next("feed")
    return peer


def said(op: str, *quotes: str, bars: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"op": op, "quotes": list(quotes), "bars": list(bars)}


def hear(peer: Peer) -> dict[str, Any]:
    """The next message but for its number."""
    message = peer.hear()
    assert message.pop("id") > 0
    return message


def test_calls_of_one_moment_are_one_message_of_each_kind(server: Server, client: Client) -> None:
    peer = connected(server, client)
    client.call("all", *[["subscribe", {"quotes": [name]}] for name in NAMES])
    assert hear(peer) == said("subscribe", *NAMES)
    adds = [["subscribe", {"bars": [f"{name}@1m"]}] for name in NAMES[:10]]
    removals = [["unsubscribe", {"quotes": [name]}] for name in NAMES[10:]]
    client.call("all", *[call for pair in zip(adds, removals[:10], strict=True) for call in pair], *removals[10:])
    assert hear(peer) == said("unsubscribe", *NAMES[10:])
    assert hear(peer) == said("subscribe", bars=tuple(f"{name}@1m" for name in NAMES[:10]))


def test_five_hundred_calls_one_by_one_stay_within_what_the_server_takes(server: Server, client: Client) -> None:
    peer = connected(server, client)
    allowance = Allowance(MESSAGES_PER_S, MESSAGES_BURST, time.monotonic)
    for name in NAMES:
        client.call("subscribe", {"quotes": [name]})
    for name in NAMES[:-1]:
        client.call("unsubscribe", {"quotes": [name]})
    client.call("subscribe", {"bars": [BAR]})
    watched: set[str] = set()
    heard = 0
    while BAR not in watched:
        message = peer.hear()
        allowance.take()
        heard += 1
        items = set(message["quotes"] + message["bars"])
        watched = watched | items if message["op"] == "subscribe" else watched - items
    assert watched == {NAMES[-1], BAR}
    assert heard <= 50  # more only if the calls take five seconds


def test_of_opposite_wishes_the_last_counts_and_what_was_never_said_is_not_taken_back(
    server: Server, client: Client
) -> None:
    peer = connected(server, client)
    client.call("subscribe", {"quotes": [COIN, "X:KEPT"]})
    assert hear(peer) == said("subscribe", COIN, "X:KEPT")
    client.call(
        "all",
        ["subscribe", {"quotes": ["X:PASSING"]}],
        ["unsubscribe", {"quotes": ["X:PASSING", COIN, "X:KEPT", "X:STRANGER"]}],
        ["subscribe", {"quotes": ["X:KEPT"], "bars": [BAR]}],
    )
    assert hear(peer) == said("unsubscribe", COIN)
    assert hear(peer) == said("subscribe", "X:KEPT", bars=(BAR,))
    client.call("all", ["subscribe", {"quotes": ["X:PASSING"]}], ["unsubscribe", {"quotes": ["X:PASSING"]}])
    client.call("subscribe", {"quotes": ["X:LAST"]})
    assert hear(peer) == said("subscribe", "X:LAST")


def test_wishes_from_before_the_greeting_are_one_message(server: Server, client: Client) -> None:
    for name in NAMES[:200]:
        client.call("subscribe", {"quotes": [name]})
    client.call("connect")
    peer = server.accept()
    for name in NAMES[200:]:
        client.call("subscribe", {"quotes": [name]})
    for name in NAMES[1:]:
        client.call("unsubscribe", {"quotes": [name]})
    client.call("now")
    client.next("result")  # all of this was called
    peer.greet()
    assert hear(peer) == said("subscribe", NAMES[0])
    client.call("unsubscribe", {"quotes": NAMES[:2]})
    assert hear(peer) == said("unsubscribe", NAMES[0])


def test_wishes_of_a_pause_that_the_connection_did_not_outlive_are_in_the_next_greetings_answer(
    server: Server, client: Client
) -> None:
    peer = connected(server, client)
    client.call("subscribe", {"quotes": [COIN, "X:GONE"], "bars": ["X:GONE@1m"]})
    peer.hear()
    client.call("subscribe", {"bars": [BAR]})
    client.call("unsubscribe", {"quotes": ["X:GONE"], "bars": ["X:GONE@1m"]})
    peer.close()
    client.next("connection", state="waiting")
    client.call("subscribe", {"quotes": ["X:PASSING"]})
    client.call("unsubscribe", {"quotes": ["X:PASSING"]})
    client.call("now")
    client.next("result")  # all of this was called
    peer = server.accept()
    peer.greet(FIRST)
    assert hear(peer) == {"op": "subscribe", **ALL}
    peer.say("subscribed", id=0, refused=[], **ALL)
    client.call("subscribe", {"quotes": ["X:LAST"]})
    assert hear(peer) == said("subscribe", "X:LAST")


def told(*calls: tuple[float, str, dict[str, list[str]]]) -> list[tuple[float, dict[str, Any]]]:
    """When which messages come of calls at these times, in milliseconds."""
    with modules() as folder:
        words = [node(), str(HERE / "pacing.mjs"), str(folder / "wishes.js")]
        answer = subprocess.run(
            words, input=json.dumps(calls), capture_output=True, text=True, check=True, timeout=DEADLINE_S
        )
    return [(at, message) for at, message in json.loads(answer.stdout)]


def test_the_first_wish_is_told_at_once_and_those_of_the_pause_after_it_together() -> None:
    calls = [(0, "add", {"quotes": ["A"]}), (1, "add", {"quotes": ["B"]}), (99, "add", {"bars": ["C"]})]
    later = [(500, "remove", {"quotes": ["A"]}), (510, "add", {"quotes": ["A"]}), (550, "remove", {"quotes": ["B"]})]
    assert told(*calls, *later) == [
        (0, said("subscribe", "A")),
        (100, said("subscribe", "B", bars=("C",))),
        (500, said("unsubscribe", "A")),
        (600, said("unsubscribe", "B")),
        (600, said("subscribe", "A")),
    ]


@pytest.mark.parametrize("items", [1, 20, 700])
def test_no_number_of_calls_exceeds_what_the_server_takes(items: int) -> None:
    """Calls for ten minutes, each of so many items, beside the answers to the server's pings."""
    calls = []
    for n, at_ms in enumerate(range(0, TEN_MINUTES_S * 1000, 10 * items)):
        first = n // 2 * items
        names = [f"X:{number % 40_000}" for number in range(first, first + items)]
        calls.append((at_ms, "remove" if n % 2 else "add", {"quotes": names}))
        calls.append((at_ms, "add", {"bars": [f"X:{n}@1m"]}))
    times = [at for at, _ in told(*calls)] + list(range(0, TEN_MINUTES_S * 1000, HEARTBEAT_S * 1000))
    now = [0.0]
    allowance = Allowance(MESSAGES_PER_S, MESSAGES_BURST, lambda: now[0])
    for at in sorted(times):
        now[0] = at / 1000
        allowance.take()
    assert len(times) < 0.6 * MESSAGES_PER_S * TEN_MINUTES_S


def test_a_very_long_wish_is_told_in_several_turns_and_the_rest_can_still_be_taken_back() -> None:
    bars = [f"X:{n}@1m" for n in range(11_000)]
    messages = told((0, "add", {"bars": bars}), (10, "remove", {"bars": bars[10_400:]}))
    assert [(at, len(message["bars"])) for at, message in messages] == [*[(0, 500)] * 20, (2000, 400)]
    assert [bar for _, message in messages for bar in message["bars"]] == bars[:10_400]
