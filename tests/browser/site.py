"""A web server with stores of its own and a page on it; what it shows is written and spoken by the test."""

import contextlib
import http.client
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, Page

from infrastructure.persistence import BarStore, Database
from infrastructure.persistence.live import LiveCache
from tests.live.platform import ManagePy
from tests.live.speaker import Speaker
from tests.persistence.conftest import RedisServer
from tests.servers import free_port

SYNCHRONOUS = "DJANGO_ALLOW_ASYNC_UNSAFE"  # Playwright runs an event loop in the test's thread; no other process may
DEADLINE_S = 90.0  # only guards against a hang


def wait_listening(port: int, web: ManagePy) -> None:
    """Until the server answers; a page that is opened before shows the browser's error page."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and web.process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            asking = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(asking):
                asking.request("GET", "/api/v1/nothing")
                asking.getresponse()
                return
        time.sleep(0.05)
    raise AssertionError(f"no server on port {port}")


@dataclass
class Site:
    url: str
    speaker: Speaker
    bars: BarStore
    context: BrowserContext

    def open(self, watched: str = "") -> Page:
        """The page; `watched` is selected."""
        page = self.context.new_page()
        page.goto(self.url)
        if watched:
            page.locator(f"tr[data-symbol='{watched}']").click()
        return page


@contextlib.contextmanager
def running_site(
    folder: Path, redis_server: RedisServer, database: Database, context: BrowserContext, **environment: str
) -> Iterator[Site]:
    speaker = Speaker(LiveCache(redis_server.url))
    speaker.state("live")
    port = free_port()
    with ManagePy(folder, "serve", PORT=str(port), **environment, **{SYNCHRONOUS: ""}) as web:
        wait_listening(port, web)
        yield Site(f"http://127.0.0.1:{port}", speaker, BarStore(database), context)
