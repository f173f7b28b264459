"""What the page says of items that the server does not send."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.browser.site import DEADLINE_S, Site

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

COIN, SHARE, TICK = "BINANCE:BTCUSDT", "NASDAQ:AAPL", "TEST:TICK"
WATCHED = f"localStorage.setItem('marketdata.watched', JSON.stringify({json.dumps([COIN, TICK, SHARE])}));"
FULL = "One connection may watch 1 items."


class Miser:
    """A server that refuses items, until a test says otherwise."""

    def __init__(self, page: Page, refused: set[str]) -> None:
        self._refused = refused
        self._watched: dict[str, list[str]] = {"quotes": [], "bars": []}
        self.is_asked_for: set[str] = set()
        page.route_web_socket("**/ws/v1/", self._connect)

    def _connect(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        socket.on_message(lambda text: self._answer(json.loads(text)))
        self._say("hello", heartbeat_s=600, server_ms=0, feed={"state": "live"})

    def _say(self, type: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": type, **fields}))

    def _answer(self, message: dict[str, Any]) -> None:
        refused = []
        for kind in ("quotes", "bars"):
            others = [item for item in self._watched[kind] if item not in message[kind]]
            asked = message[kind] if message["op"] == "subscribe" else []
            self._watched[kind] = others + [item for item in asked if item not in self._refused]
            refused += [{"item": item, "code": 4012, "reason": FULL} for item in asked if item in self._refused]
        self._say("subscribed", id=message["id"], refused=refused, **self._watched)
        bars = " and ".join(self._watched["bars"])
        self._say("status", feed={"state": "stale", "reason": f"Granted {bars}."})  # shows that it was read

    def grant(self, item: str) -> None:
        self._refused.discard(item)
        self._answer({"op": "subscribe", "id": 0, "quotes": [item], "bars": []})


def test_refusals_are_shown_until_they_are_granted_or_wanted_no_more(site: Site) -> None:
    page = site.context.new_page()
    page.add_init_script(WATCHED)
    miser = Miser(page, {COIN, TICK, f"{TICK}@1m"})
    page.goto(site.url)
    problem, read = page.locator("#problem"), page.locator("#stale")
    page.locator(f"tr[data-symbol='{SHARE}']").click()
    expect(read).to_contain_text(f"Granted {SHARE}@1m.", timeout=DEADLINE_S * 1000)
    expect(problem).to_have_text(f"{COIN}: {FULL} (and 1 more)")
    page.locator(f"tr[data-symbol='{TICK}']").click()
    expect(problem).to_have_text(f"{COIN}: {FULL} (and 2 more)")
    miser.grant(COIN)
    expect(problem).to_have_text(f"{TICK}: {FULL} (and 1 more)")
    page.locator("#watchlist").focus()
    page.keyboard.press("Delete")
    expect(page.locator(f"tr[data-symbol='{SHARE}']")).to_have_attribute("aria-selected", "true")
    expect(problem).to_be_hidden()
    expect(read).to_contain_text(f"Granted {SHARE}@1m.")
    expect(problem).to_be_hidden()
