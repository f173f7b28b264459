"""Who is flushed with whom; and, whatever sockets do and browsers wish, no latest value is missed or sent twice."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from marketdata.live.connection import Connection
from marketdata.live.door import Door
from marketdata.live.errors import Code
from marketdata.live.latest import Latest
from marketdata.live.slots import Slots

TOPICS = ["A", "B", "C", "D"]


class Browser:
    """A connection, and the socket behind its door. `room`: frames that it still takes before it is full."""

    def __init__(self, has_door: bool = True) -> None:
        self.got: list[Any] = []
        self.room = 1_000_000
        self.raises: Exception | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._door = Door(self._write, lambda: 0) if has_door else None
        self.connection = Connection(self._send, lambda: None, 0.0, lambda: 0.0, self._door)
        self.take()

    def _write(self, frame: bytes) -> None:
        assert self._door and self._door.is_open
        if self.raises:
            raise self.raises
        self._got(frame[frame.index(b"{") :].decode())

    async def _send(self, message: dict[str, Any]) -> None:
        await self._writable.wait()
        if "text" in message:
            self._got(message["text"])

    def _got(self, text: str) -> None:
        self.got.append(json.loads(text))
        self.room -= 1
        if self.room <= 0:
            self._writable.clear()
            if self._door:
                self._door.shut()

    def take(self, room: int = 1_000_000) -> None:
        self.room = room
        self._writable.set()
        if self._door:
            self._door.is_open = True

    def read(self) -> list[Any]:
        got, self.got = self.got, []
        return got


class Site:
    """Slots, what is known, and a flush of all of them."""

    def __init__(self, slots: int = 1) -> None:
        self.slots = Slots(slots)
        self.latest = Latest()

    def watch(self, browser: Browser, *topics: str) -> None:
        quotes = [topic for topic in topics if "@" not in topic]
        browser.connection.watch(quotes, set(topics).difference(quotes))
        self.slots.seat(browser.connection)

    def unwatch(self, browser: Browser, *topics: str) -> None:
        browser.connection.unwatch(topics, topics)
        self.slots.seat(browser.connection)

    def say(self, topic: str, value: int) -> None:
        self.latest.quotes[topic] = f'{{"s":"{topic}","n":{value}}}'
        for slot in self.slots:
            slot.change([topic], [])

    def flush(self) -> None:
        for slot in self.slots:
            slot.flush(self.latest, "")

    def places(self, browsers: list[Browser]) -> list[int]:
        """How many sit in each slot: by who is reached when only that one is flushed."""
        counts = []
        for slot in self.slots:
            for browser in browsers:
                browser.read()
            slot.flush(self.latest, "")
            counts.append(sum(bool(browser.read()) for browser in browsers))
        return counts


def values(frames: list[Any]) -> list[tuple[str, list[int]]]:
    return [(one["type"], [quote["n"] for quote in one["quotes"]]) for one in frames]


async def test_after_its_snapshot_a_browser_gets_what_changed_of_its_own() -> None:
    site, browser = Site(), Browser()
    site.say("A", 1)
    site.watch(browser, "A", "B")
    site.flush()
    site.say("B", 2)
    site.flush()
    site.say("C", 3)
    site.flush()
    assert values(browser.read()) == [("snapshot", [1]), ("update", [2])]


async def test_those_who_watch_the_same_share_a_slot_until_it_is_crowded() -> None:
    site, browsers = Site(4), [Browser() for _ in range(40)]
    for number, browser in enumerate(browsers):
        site.watch(browser, TOPICS[number % 4])
    site.say("A", 1)
    assert sorted(site.places(browsers[0::4])) == [0, 0, 0, 10]
    alike = [Browser() for _ in range(400)]
    for browser in alike:
        site.watch(browser, "D")
    site.flush()
    site.say("D", 1)
    counts = site.places(browsers[3::4] + alike)
    assert sum(counts) == 410
    assert max(counts) < 150


async def test_a_browser_that_changes_its_wishes_keeps_its_slot_and_misses_nothing() -> None:
    site, browser, other = Site(2), Browser(), Browser()
    site.watch(other, "B")
    site.watch(browser, "A")
    site.flush()
    browser.read()
    site.say("A", 1)
    site.watch(browser, "B")  # others of the same wish sit in the other slot
    site.flush()
    assert values(browser.read()) == [("snapshot", []), ("update", [1])]
    site.unwatch(browser, "A", "B")
    site.say("A", 2)
    site.flush()
    assert browser.read() == []


async def test_one_whose_socket_fills_falls_behind_alone_and_is_written_to_directly_again() -> None:
    site, full, fine = Site(), Browser(), Browser()
    for browser in (full, fine):
        site.watch(browser, "A")
    site.flush()
    full.room = 1
    for value in (1, 2, 3):
        site.say("A", value)
        site.flush()
    assert values(full.read()) == [("snapshot", []), ("update", [1])]
    assert values(fine.read()) == [("snapshot", []), ("update", [1]), ("update", [2]), ("update", [3])]
    full.take()
    for _ in range(3):
        await asyncio.sleep(0)
        site.flush()
    # The second was on its way through ASGI already when the socket was found full.
    assert values(full.read()) == [("update", [2]), ("update", [3])]
    assert full.connection.direct is not None


async def test_nothing_overtakes_a_send_that_waits_while_the_door_is_open_again() -> None:
    site, browser = Site(), Browser()
    site.watch(browser, "A", "B")
    site.flush()
    browser.room = 1
    for value in (1, 2):
        site.say("A", value)
        site.flush()
    site.unwatch(browser, "B")
    browser.take()
    for value in (3, 4):
        site.flush()
        site.say("A", value)
    site.flush()
    for _ in range(5):
        await asyncio.sleep(0)
    site.flush()
    assert values(browser.read()) == [("snapshot", []), ("update", [1]), ("update", [2]), ("update", [4])]


async def test_a_socket_that_raises_ends_its_browser_and_no_other() -> None:
    site, browsers = Site(), [Browser() for _ in range(3)]
    for browser in browsers:
        site.watch(browser, "A")
    site.flush()
    browsers[1].raises = RuntimeError("the handler is closed")
    site.say("A", 1)
    site.flush()
    assert [one.connection.over for one in browsers] == [False, True, False]
    assert [len(one.read()) for one in browsers] == [2, 1, 2]


async def test_nothing_follows_the_goodbye() -> None:
    site, browser = Site(), Browser()
    site.watch(browser, "A")
    site.flush()
    browser.read()
    browser.connection.close(Code.RESTARTING, "The server is restarting.")
    for value in (1, 2):
        site.say("A", value)
        site.flush()
    assert [one["type"] for one in browser.read()] == ["error", "bye"]


@pytest.mark.parametrize("has_door", [True, False])
async def test_a_closed_bar_comes_with_the_next_flush_even_if_nothing_else_changes(has_door: bool) -> None:
    site, browser = Site(), Browser(has_door)
    site.watch(browser, "A@1m")
    site.flush()
    browser.connection.closed_bar("A@1m", '{"t":1}')
    site.flush()
    site.flush()
    assert [one["bars"] for one in browser.read()] == [[], [{"t": 1}]]


class SlotsMachine(RuleBasedStateMachine):
    """Browsers with and without a door, sockets that fill and empty, wishes that change; each value counts up."""

    browsers: Bundle[Browser] = Bundle("browsers")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.site = Site(3)
        self.all: list[Browser] = []
        self.known: dict[Browser, Counter[str]] = {}
        self.count = 0

    def teardown(self) -> None:
        self.loop.run(self._end())
        self.loop.close()

    async def _end(self) -> None:
        for browser in self.all:
            browser.take()
        for _ in range(3):
            await asyncio.sleep(0)
            self.site.flush()
        self._read()
        for browser, known in self.known.items():
            for topic in browser.connection.quotes & self.site.latest.quotes.keys():
                assert known[topic] == json.loads(self.site.latest.quotes[topic])["n"], topic

    def _read(self) -> None:
        for browser, known in self.known.items():
            for frame in browser.read():
                for quote in frame["quotes"]:
                    again = frame["type"] == "snapshot" and quote["n"] == known[quote["s"]]
                    assert again or quote["n"] > known[quote["s"]], "an older value, or the same once more"
                    known[quote["s"]] = quote["n"]

    @rule(target=browsers, has_door=st.booleans())
    def come(self, has_door: bool) -> Browser:
        async def come() -> Browser:
            return Browser(has_door)

        browser = self.loop.run(come())
        self.all.append(browser)
        self.known[browser] = Counter()
        return browser

    @rule(browser=browsers, topics=st.sets(st.sampled_from(TOPICS), min_size=1))
    def watch(self, browser: Browser, topics: set[str]) -> None:
        self.site.watch(browser, *topics)

    @rule(browser=browsers, topics=st.sets(st.sampled_from(TOPICS), min_size=1))
    def unwatch(self, browser: Browser, topics: set[str]) -> None:
        self.site.unwatch(browser, *topics)

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=3))
    def say(self, topics: list[str]) -> None:
        for topic in topics:
            self.count += 1
            self.site.say(topic, self.count)

    @rule(browser=browsers, room=st.integers(1, 2))
    def fill(self, browser: Browser, room: int) -> None:
        browser.room = min(room, browser.room)

    @rule(browser=browsers, flushed=st.booleans())
    def empty(self, browser: Browser, flushed: bool) -> None:
        """`flushed`: before the send that waited for it has gone on."""

        async def empty() -> None:
            browser.take()
            if flushed:
                self.site.flush()
            await asyncio.sleep(0)

        self.loop.run(empty())

    @rule(which=st.integers(0, 2))
    def flush(self, which: int) -> None:
        async def flush() -> None:
            list(self.site.slots)[which].flush(self.site.latest, "")
            await asyncio.sleep(0)

        self.loop.run(flush())

    @invariant()
    def nothing_goes_back(self) -> None:
        self._read()


TestSlotsMachine = SlotsMachine.TestCase
TestSlotsMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
