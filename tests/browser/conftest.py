"""A real Chromium and the whole platform behind it, once for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from infrastructure.persistence import Database
from tests import chromium
from tests.browser.node import Client, Server, running_client
from tests.browser.site import SYNCHRONOUS, Site, running_site
from tests.live.conftest import database, redis_server
from tests.persistence.conftest import RedisServer
from tests.platform_process import Platform, running_platform

__all__ = ["database", "redis_server"]  # fixtures


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium.launched() as browser:
        yield browser


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("platform") / "var") as running:
        yield running


@pytest.fixture(autouse=True)
def _synchronous_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SYNCHRONOUS, "true")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    yield context
    context.close()


@pytest.fixture
def site(tmp_path: Path, redis_server: RedisServer, database: Database, context: BrowserContext) -> Iterator[Site]:
    with running_site(tmp_path, redis_server, database, context) as site:
        yield site


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


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with running_client(server.url) as client:
        yield client
