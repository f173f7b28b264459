"""A real Chromium and the whole platform behind it, once per session."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.platform_process import Platform, running_platform

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> str:
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must install a Chromium (apt-get install chromium)")
        pytest.skip("no Chromium on PATH (apt-get install chromium)")
    return path


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, chromium: str) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("platform") / "var") as running:
        yield running


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, platform: Platform) -> Iterator[Page]:
    """The live page, opened; a console error or a request to another host fails the test."""
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    own = (platform.url, platform.url.replace("http", "ws"), "data:")
    page.on("request", lambda request: problems.append(request.url) if not request.url.startswith(own) else None)
    page.goto(platform.url + "/")
    page.problems = problems  # type: ignore[attr-defined]
    yield page
    allowed = getattr(page, "allowed_problem", None)
    assert [text for text in problems if not (allowed and allowed in text)] == []


@pytest.fixture(scope="session")
def images() -> Path | None:
    """Where screenshots go when SCREENSHOTS names a folder (`make screenshots`)."""
    folder = os.environ.get("SCREENSHOTS")
    return Path(folder) if folder else None
