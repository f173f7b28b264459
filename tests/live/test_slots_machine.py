"""Whatever sockets do and browsers wish, no latest value is missed or sent twice."""

import asyncio
import json
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from tests.live.slot_site import TOPICS, Browser, Site


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
