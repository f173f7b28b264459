"""Who is flushed with whom, and what becomes of one whose socket is full."""

import asyncio

import pytest

from marketdata.live.errors import Code
from tests.live.slot_site import TOPICS, Browser, Site, values


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
