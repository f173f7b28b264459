"""Each part killed, one at a time, with a page open: the platform is whole again by itself, and the page goes on."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psutil
import pymongo
import pytest
import redis
from bson import ObjectId
from playwright.sync_api import Browser, Page, expect

from infrastructure.intervals import INTERVALS, MINUTE_MS
from infrastructure.simulator.market import Market
from tests.chromium import changing_symbols
from tests.platform_process import Platform, running_platform

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(900)]

WHOLE_S = 400.0  # only guards against a hang
ALWAYS_TICKS = "TEST:TICK"
PARTS = ["mongodb", "redis", "simulator", "feed", "worker", "backfills", "web"]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("platform") / "var") as running:
        with database(running) as stores:  # or the backfills of the tests would wait behind those of the first run
            left = {"state": {"$in": ["queued", "running"]}}
            wait_until("the first backfills", lambda: not stores["backfill_job"].count_documents(left))
        yield running


@pytest.fixture(scope="module")
def page(platform: Platform, browser: Browser) -> Iterator[Page]:
    """One for all tests, never loaded again: `sameDocument` would be gone."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(platform.url + "/")
    page.evaluate("globalThis.sameDocument = true")
    page.locator(f"tr[data-symbol='{ALWAYS_TICKS}']").click()
    yield page
    page.close()


@contextmanager
def database(platform: Platform) -> Iterator[Any]:
    uri = f"mongodb://127.0.0.1:{platform.store_ports['mongodb']}/?replicaSet=rs0"
    with pymongo.MongoClient(uri, serverSelectionTimeoutMS=WHOLE_S * 1000, tz_aware=True) as client:
        yield client["marketdata"]


def wait_until(what: str, condition: Callable[[], object]) -> None:
    end = time.monotonic() + WHOLE_S
    while not condition():
        assert time.monotonic() < end, f"not within {WHOLE_S:g} s: {what}"
        time.sleep(0.1)


def is_live(platform: Platform, since: datetime) -> bool:
    """Whether the feed says so, and has said it since then."""
    try:
        feed = platform.get("/api/v1/status")["feed"]
    except OSError:
        return False
    return bool(feed) and feed["state"] == "live" and feed["at_ms"] > since.timestamp() * 1000


def stored(platform: Platform, start_ms: int, end_ms: int) -> list[list[float]]:
    query = f"symbol={ALWAYS_TICKS}&interval=1m&limit=5000&start_ms={start_ms}&end_ms={end_ms}"
    bars: list[list[float]] = platform.get(f"/api/v1/bars?{query}")["bars"]
    return bars


def model(start_ms: int, end_ms: int) -> list[list[float]]:
    bars = Market(seed=1).bars(ALWAYS_TICKS, INTERVALS["1m"], start_ms, end_ms)
    return [list(row) for row in zip(*(column.tolist() for column in bars.columns), strict=True)]


def a_pull_ran(platform: Platform, since: datetime) -> bool:
    with database(platform) as stores:
        pull = stores["pull"].find_one({"_id": f"{ALWAYS_TICKS}@1m"})
    return bool(pull) and pull["tried_at"] > since and not pull["error"]


WISH = """
from marketdata.models import BackfillJob
from marketdata.services import backfill_jobs
job = BackfillJob(symbol="NASDAQ:META", interval="1h", bars=10)
backfill_jobs.enqueue(job)
print(job.pk)
"""


def wished_backfill(platform: Platform) -> ObjectId:
    """The id of a job that is queued now."""
    done = platform.manage("shell", "-v", "0", "-c", WISH)
    assert done.returncode == 0, done.stderr
    return ObjectId(done.stdout.strip())


def is_done(platform: Platform, job: ObjectId) -> bool:
    with database(platform) as stores:
        found = stores["backfill_job"].find_one({"_id": job})
    return bool(found["state"] == "done")


class Recovery:
    """Seconds from the fault to each sign of life; printed for who runs this with -s."""

    def __init__(self, fault: str) -> None:
        self.fault, self.started = fault, time.monotonic()
        self.steps: list[str] = []

    def reached(self, what: str) -> None:
        self.steps.append(f"{what} {time.monotonic() - self.started:.1f} s")

    def __str__(self) -> str:
        return f"\n{self.fault}: {', '.join(self.steps)}"


def see_it_whole(platform: Platform, page: Page, since: datetime, recovery: Recovery) -> None:
    """`since`: when the fault was over. A price, a bar and a task of a later time are there, and no bar is missing."""
    wait_until("the feed is live", lambda: is_live(platform, since))
    recovery.reached("feed live")
    expect(page.locator("#connection")).to_have_text("connected", timeout=WHOLE_S * 1000)
    expect(page.locator("#feed")).to_have_text("feed live", timeout=WHOLE_S * 1000)
    assert len(changing_symbols(page, 8, WHOLE_S)) >= 8
    recovery.reached("eight prices changed in the page")
    chart = page.locator("#chart")
    expect(chart).not_to_have_attribute("data-close", chart.get_attribute("data-close") or "", timeout=WHOLE_S * 1000)
    recovery.reached("the candle moved")
    job = wished_backfill(platform)
    wait_until("a backfill", lambda: is_done(platform, job))
    recovery.reached("a backfill done")
    wait_until("a scheduled pull", lambda: a_pull_ran(platform, since))
    recovery.reached("a schedule pulled")
    minute_ms = int(since.timestamp() * 1000) // MINUTE_MS * MINUTE_MS
    start_ms, end_ms = minute_ms - 10 * MINUTE_MS, minute_ms + MINUTE_MS
    expected = model(start_ms, end_ms)
    wait_until("the bars of ten minutes until now", lambda: stored(platform, start_ms, end_ms) == expected)
    recovery.reached("every bar stored")
    assert page.evaluate("globalThis.sameDocument") is True
    assert page.locator("#problem").is_hidden()
    print(recovery)


@pytest.mark.parametrize("part", PARTS)
def test_what_is_killed_comes_back_and_the_page_goes_on(platform: Platform, page: Page, part: str) -> None:
    assert list(platform.processes) == PARTS
    killed, said = platform.processes[part], len(platform.lines)
    recovery = Recovery(f"kill -9 of {part}")
    os.kill(killed, signal.SIGKILL)
    platform.wait_for(rf" {part} *\| was ended by SIGKILL; starting it again in \d\.\d s$", after=said)
    children = psutil.Process(platform.process.pid).children
    wait_until(f"{part} runs again", lambda: len({child.pid for child in children()} - {killed}) == len(PARTS))
    recovery.reached("started again")
    see_it_whole(platform, page, datetime.now(UTC), recovery)


def test_redis_emptied_at_any_moment_is_filled_again(platform: Platform, page: Page) -> None:
    with redis.Redis(port=platform.store_ports["redis"]) as client:
        before = client.hlen("md1:quotes")
        recovery = Recovery("FLUSHALL")
        client.flushall()
        see_it_whole(platform, page, datetime.now(UTC), recovery)
        assert client.hlen("md1:quotes") == before
